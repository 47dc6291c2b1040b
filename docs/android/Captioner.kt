package com.example.captioner

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import android.net.Uri
import java.io.Closeable
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import kotlin.math.max
import kotlin.math.min
import org.tensorflow.lite.Interpreter

/** A caption; `attention[word][row][column]` says where each word looked, if the model says it. */
class Caption(
    val text: String,
    val words: List<String>,
    val score: Float,
    val attention: List<Array<FloatArray>>?,
)

/** Captions images with the bundle that lies in the app's assets. Use it from one thread at a time. */
class Captioner(private val context: Context, private val folder: String = "bundle") : Closeable {
    private val words = lines("vocabulary.tsv").map { it[0] }
    private val ends = lines("joins.tsv").map { it[0].toInt() }
    private val begins = lines("joins.tsv").map { it[1].toInt() }
    private val interpreter = Interpreter(model(), Interpreter.Options().setNumThreads(4))
    private val size = interpreter.getInputTensorFromSignature("pixels", SIGNATURE).shape()[1]
    private val attends = "attention" in interpreter.getSignatureOutputs(SIGNATURE)

    /** Return the captions of an image, the best first. */
    fun caption(image: Uri): List<Caption> {
        val bitmap = decode(image)
        val argb = IntArray(bitmap.width * bitmap.height)
        bitmap.getPixels(argb, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        val square = square(argb, bitmap.width, bitmap.height, size)
        val pixels = ByteBuffer.allocateDirect(4 * square.size).order(ByteOrder.nativeOrder())
        pixels.asFloatBuffer().put(square)

        val (_, captions, places) = shape("ids")
        val ids = arrayOf(Array(captions) { IntArray(places) })
        val scores = arrayOf(FloatArray(captions))
        val outputs = mutableMapOf<String, Any>("ids" to ids, "scores" to scores)
        var attention: Array<Array<Array<Array<FloatArray>>>>? = null
        if (attends) {
            val (height, width) = shape("attention").takeLast(2)
            attention = arrayOf(Array(captions) { Array(places) { Array(height) { FloatArray(width) } } })
            outputs["attention"] = attention
        }
        interpreter.runSignature(mapOf("pixels" to pixels), outputs, SIGNATURE)

        return (0 until captions).filter { scores[0][it].isFinite() }.map { n ->
            val found = ids[0][n].takeWhile { it != PAD && it != END }
            val looked = attention?.get(0)?.get(n)?.take(found.size)
            Caption(join(found), found.map { words[it] }, scores[0][n], looked)
        }
    }

    /** Join words as people write them: `dog 's` becomes `dog's`. */
    private fun join(ids: List<Int>) = buildString {
        ids.forEachIndexed { i, id ->
            if (i > 0) {
                when (ends[ids[i - 1]] and begins[id]) {
                    0 -> append(' ')
                    TIBETAN -> append('\u0f0b')
                }
            }
            append(words[id])
        }
    }

    /** Decode an image upright, in sRGB, on white, at least four times as large as the model needs. */
    private fun decode(image: Uri): Bitmap {
        val source = ImageDecoder.createSource(context.contentResolver, image)
        val decoded = ImageDecoder.decodeBitmap(source) { decoder, info, _ ->
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
            decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
            val least = max(4 * size, 641)
            val shorter = min(info.size.width, info.size.height)
            decoder.setTargetSampleSize(listOf(8, 4, 2).firstOrNull { shorter / it >= least } ?: 1)
        }
        val onWhite = Bitmap.createBitmap(decoded.width, decoded.height, Bitmap.Config.ARGB_8888)
        Canvas(onWhite).apply {
            drawColor(Color.WHITE)
            drawBitmap(decoded, 0f, 0f, null)
        }
        return onWhite
    }

    private fun shape(output: String) =
        interpreter.getOutputTensorFromSignature(output, SIGNATURE).shape().toList()

    private fun lines(name: String) =
        context.assets.open("$folder/$name").bufferedReader().readText()
            .removeSuffix("\n").split('\n').map { it.split('\t') }

    private fun model(): ByteBuffer =
        context.assets.openFd("$folder/model.tflite").use { file ->
            file.createInputStream().channel
                .map(FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength)
        }

    override fun close() = interpreter.close()

    private companion object {
        const val SIGNATURE = "serving_default"
        const val PAD = 0
        const val END = 2
        const val TIBETAN = 1
    }
}
