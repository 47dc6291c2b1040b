package com.example.captioner

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/** The input pixels that make one output pixel, with the weight of each. */
private class Taps(val first: Int, val weights: FloatArray)

/** A triangle as wide as what one output pixel covers: bilinear, with antialiasing. */
private fun taps(from: Int, to: Int): List<Taps> {
    val scale = from.toFloat() / to
    val reach = max(scale, 1f)
    return List(to) { i ->
        val centre = (i + 0.5f) * scale
        val first = max(0f, centre - reach + 0.5f).toInt()
        val end = min(from, (centre + reach + 0.5f).toInt())
        val weights = FloatArray(end - first) { max(0f, 1 - abs(first + it + 0.5f - centre) / reach) }
        val sum = weights.sum()
        Taps(first, FloatArray(weights.size) { weights[it] / sum })
    }
}

/** Squash ARGB pixels to size x size: RGB floats in 0..255, row by row, as the model takes them. */
fun square(pixels: IntArray, width: Int, height: Int, size: Int): FloatArray {
    val columns = taps(width, size)
    val narrow = FloatArray(height * size * 3)
    for (y in 0 until height) for (x in 0 until size) {
        val tap = columns[x]
        var red = 0f
        var green = 0f
        var blue = 0f
        for (k in tap.weights.indices) {
            val pixel = pixels[y * width + tap.first + k]
            red += tap.weights[k] * (pixel shr 16 and 255)
            green += tap.weights[k] * (pixel shr 8 and 255)
            blue += tap.weights[k] * (pixel and 255)
        }
        val at = (y * size + x) * 3
        narrow[at] = red
        narrow[at + 1] = green
        narrow[at + 2] = blue
    }
    val rows = taps(height, size)
    val row = size * 3
    return FloatArray(size * row) { at ->
        val tap = rows[at / row]
        var sum = 0f
        for (k in tap.weights.indices) sum += tap.weights[k] * narrow[(tap.first + k) * row + at % row]
        sum
    }
}
