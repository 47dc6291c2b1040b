"""The Beam job: captioned images in, TFRecord shards of SequenceExamples out."""
