"""The decoder that most people meet first, in PyTorch: the baseline of our training and search.

It follows the well-known tutorial ("a PyTorch Tutorial to Image Captioning", after Xu et al. 2015):
an LSTMCell step by step, attention over all features at each step, captions sorted by length so
that the batch shrinks, one row per caption with the image's features repeated for it. Nothing is
tuned here, for better or worse.
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


class Attention(nn.Module):
    """Attention of the state over the locations."""

    def __init__(self, encoder_dim: int, decoder_dim: int, attention_dim: int):
        super().__init__()
        self.encoder_att = nn.Linear(encoder_dim, attention_dim)
        self.decoder_att = nn.Linear(decoder_dim, attention_dim)
        self.full_att = nn.Linear(attention_dim, 1)
        self.relu = nn.ReLU()
        self.softmax = nn.Softmax(dim=1)

    def forward(self, features: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return context [B, D] and alpha [B, L] of features [B, L, D] and state [B, U]."""
        att1 = self.encoder_att(features)
        att2 = self.decoder_att(h)
        att = self.full_att(self.relu(att1 + att2.unsqueeze(1))).squeeze(2)
        alpha = self.softmax(att)
        return (features * alpha.unsqueeze(2)).sum(dim=1), alpha


class Decoder(nn.Module):
    """LSTM with attention and teacher forcing."""

    def __init__(self, vocabulary: int, encoder_dim: int, units: int = 512, dropout: float = 0.5):
        super().__init__()
        self.vocabulary = vocabulary
        self.attention = Attention(encoder_dim, units, units)
        self.embedding = nn.Embedding(vocabulary, units)
        self.dropout = nn.Dropout(p=dropout)
        self.decode_step = nn.LSTMCell(units + encoder_dim, units, bias=True)
        self.init_h = nn.Linear(encoder_dim, units)
        self.init_c = nn.Linear(encoder_dim, units)
        self.f_beta = nn.Linear(units, encoder_dim)
        self.sigmoid = nn.Sigmoid()
        self.fc = nn.Linear(units, vocabulary)

    def forward(
        self, features: torch.Tensor, captions: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, list[int], torch.Tensor]:
        """Run teacher forcing.

        Args:
            features: [R, L, D].
            captions: ids [R, T + 1].
            lengths: ids in each caption, [R].

        Returns:
            Predictions [R, T, V], the captions sorted by length, the steps of each, and alphas
            [R, T, L].
        """
        rows, locations = features.size(0), features.size(1)
        lengths, order = lengths.sort(dim=0, descending=True)
        features, captions = features[order], captions[order]
        embeddings = self.embedding(captions)
        mean = features.mean(dim=1)
        h, c = self.init_h(mean), self.init_c(mean)
        steps = (lengths - 1).tolist()
        predictions = features.new_zeros(rows, max(steps), self.vocabulary)
        alphas = features.new_zeros(rows, max(steps), locations)
        for t in range(max(steps)):
            n = sum(step > t for step in steps)
            context, alpha = self.attention(features[:n], h[:n])
            context = self.sigmoid(self.f_beta(h[:n])) * context
            h, c = self.decode_step(torch.cat([embeddings[:n, t], context], dim=1), (h[:n], c[:n]))
            predictions[:n, t] = self.fc(self.dropout(h))
            alphas[:n, t] = alpha
        return predictions, captions, steps, alphas


class Trainer:
    """The tutorial's training step."""

    def __init__(self, decoder: Decoder, precision: str):
        """Make the optimizer.

        Args:
            decoder: what is trained.
            precision: "float32", or "bfloat16" for autocast.
        """
        self.decoder, self.precision = decoder, precision
        self.optimizer = torch.optim.Adam(decoder.parameters(), lr=4e-4)
        self.criterion = nn.CrossEntropyLoss()

    def step(self, features: torch.Tensor, captions: torch.Tensor, lengths: torch.Tensor) -> float:
        """Train on one batch and return the loss."""
        with torch.autocast(
            features.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"
        ):
            predictions, captions, steps, alphas = self.decoder(features, captions, lengths)
            scores = pack_padded_sequence(predictions, steps, batch_first=True).data
            targets = pack_padded_sequence(captions[:, 1:], steps, batch_first=True).data
            loss = self.criterion(scores, targets)
            loss = loss + ((1.0 - alphas.sum(dim=1)) ** 2).mean()
        self.optimizer.zero_grad()
        loss.backward()
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.data.clamp_(-5.0, 5.0)
        self.optimizer.step()
        return loss.item()


@torch.no_grad()
def greedy_search(decoder: Decoder, features: torch.Tensor, start: int, words: int) -> torch.Tensor:
    """Caption a batch word by word: features [B, L, D] -> ids [B, words]."""
    mean = features.mean(dim=1)
    h, c = decoder.init_h(mean), decoder.init_c(mean)
    last = torch.full((features.size(0),), start, device=features.device)
    ids = []
    for _ in range(words):
        context, _ = decoder.attention(features, h)
        context = decoder.sigmoid(decoder.f_beta(h)) * context
        h, c = decoder.decode_step(torch.cat([decoder.embedding(last), context], dim=1), (h, c))
        last = decoder.fc(h).argmax(dim=1)
        ids.append(last)
    return torch.stack(ids, dim=1)


@torch.no_grad()
def beam_search(
    decoder: Decoder, features: torch.Tensor, beam_size: int, start: int, end: int, words: int
) -> list[int]:
    """Caption one image as the tutorial's beam search does: features [1, L, D] -> ids.

    Hypotheses that end leave the beam; the search stops after `words` words.
    """
    k, vocabulary = beam_size, decoder.vocabulary
    features = features.expand(k, *features.shape[1:])
    last = torch.full((k, 1), start, device=features.device)
    sequences, best_scores = last, features.new_zeros(k, 1)
    complete, complete_scores = [], []
    mean = features.mean(dim=1)
    h, c = decoder.init_h(mean), decoder.init_c(mean)
    for step in range(1, words + 1):
        embeddings = decoder.embedding(last).squeeze(1)
        context, _ = decoder.attention(features, h)
        context = decoder.sigmoid(decoder.f_beta(h)) * context
        h, c = decoder.decode_step(torch.cat([embeddings, context], dim=1), (h, c))
        scores = nn.functional.log_softmax(decoder.fc(h), dim=1)
        scores = best_scores.expand_as(scores) + scores
        flat = scores[0] if step == 1 else scores.view(-1)
        best_scores, best = flat.topk(k, 0, True, True)
        parents, nexts = best // vocabulary, best % vocabulary
        sequences = torch.cat([sequences[parents], nexts.unsqueeze(1)], dim=1)
        going = [i for i, word in enumerate(nexts.tolist()) if word != end]
        done = sorted(set(range(len(nexts))) - set(going))
        complete.extend(sequences[done].tolist())
        complete_scores.extend(best_scores[done].tolist())
        k -= len(done)
        if k == 0:
            break
        sequences, h, c = sequences[going], h[parents[going]], c[parents[going]]
        features, best_scores = features[parents[going]], best_scores[going].unsqueeze(1)
        last = nexts[going].unsqueeze(1)
    else:
        complete.extend(sequences.tolist())
        complete_scores.extend(best_scores.flatten().tolist())
    return complete[complete_scores.index(max(complete_scores))]
