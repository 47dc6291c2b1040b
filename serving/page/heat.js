// Where a word looked, as colours over the picture and as words.

const LONGER_SIDE = 192; // pixels of the canvas; the browser stretches it over the picture
const SPREAD = 0.85; // of all cells: a weight that is spread over more is everywhere
// Dark to bright, so that it reads without colours too: matplotlib's "inferno" at these five places.
const COLOURS = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
// How much of the picture each of them covers: it stays visible where the word looked.
const COVER = [0.64, 0.64, 0.6, 0.54, 0.46];
const PLACES = [
  ["at the upper left", "at the top", "at the upper right"],
  ["at the left", "at the middle", "at the right"],
  ["at the lower left", "at the bottom", "at the lower right"],
];
const TABLE = Array.from({ length: 256 }, (_, step) => {
  const place = (step / 255) * (COLOURS.length - 1);
  const left = Math.min(Math.floor(place), COLOURS.length - 2);
  const mix = (from, to) => from + (to - from) * (place - left);
  return [
    ...COLOURS[left].map((from, channel) => mix(from, COLOURS[left + 1][channel])),
    255 * mix(COVER[left], COVER[left + 1]),
  ];
});

/** Whether this is a grid of numbers, rows of one length. */
export function isGrid(grid) {
  return Array.isArray(grid) && grid.length > 0 && grid.every((row) =>
    Array.isArray(row) && row.length > 0 && row.length === grid[0].length && row.every(Number.isFinite));
}

/** Return for each of `length` pixels the cells [index, weight] of a smooth curve through `cells`. */
function taps(cells, length) {
  return Array.from({ length }, (_, pixel) => {
    const place = ((pixel + 0.5) / length) * cells - 0.5;
    const first = Math.floor(place);
    const t = place - first;
    // The cubic B-spline: round spots, and never outside of the values that it goes between.
    const weights = [(1 - t) ** 3, 3 * t ** 3 - 6 * t ** 2 + 4, -3 * t ** 3 + 3 * t ** 2 + 3 * t + 1, t ** 3];
    return weights.map((weight, k) =>
      [Math.min(Math.max(first - 1 + k, 0), cells - 1), weight / 6]);
  });
}

const blend = (cells, value) => cells.reduce((sum, [index, weight]) => sum + weight * value(index), 0);

/**
 * Draw a grid over all of a canvas, scaled to its own highest value.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number[][]} grid Rows from top to bottom.
 * @param {number} ratio Width by height of the picture.
 */
export function draw(canvas, grid, ratio) {
  const width = Math.max(1, Math.round(ratio >= 1 ? LONGER_SIDE : LONGER_SIDE * ratio));
  const height = Math.max(1, Math.round(ratio >= 1 ? LONGER_SIDE / ratio : LONGER_SIDE));
  const columns = taps(grid[0].length, width);
  const wide = grid.map((row) => columns.map((cells) => blend(cells, (x) => row[x])));
  const values = taps(grid.length, height).map((cells) =>
    columns.map((_, x) => blend(cells, (y) => wide[y][x])));
  const highest = values.reduce((most, row) => row.reduce((a, b) => Math.max(a, b), most), 1e-12);
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  values.flat().forEach((value, place) =>
    pixels.data.set(TABLE[Math.round((Math.max(value, 0) / highest) * 255)], 4 * place));
  context.putImageData(pixels, 0, 0);
}

/** Draw the scale of colours, from no weight to the highest one. */
export function drawScale(canvas) {
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, 1);
  for (let x = 0; x < canvas.width; x += 1) {
    const [red, green, blue] = TABLE[Math.round((x / (canvas.width - 1)) * 255)];
    pixels.data.set([red, green, blue, 255], 4 * x);
  }
  context.putImageData(pixels, 0, 0);
}

/** Say in words where a grid has its weight: "at the upper left". */
export function place(grid) {
  const cells = grid.flatMap((row, y) => row.map((value, x) => ({ x, y, value: Math.max(value, 0) })));
  const total = cells.reduce((sum, { value }) => sum + value, 0);
  const entropy = cells.reduce((sum, { value }) =>
    (value ? sum - (value / total) * Math.log(value / total) : sum), 0);
  if (!total || (cells.length > 1 && Math.exp(entropy) > SPREAD * cells.length)) return "everywhere alike";
  const peak = cells.reduce((best, cell) => (cell.value > best.value ? cell : best));
  const third = (index, count) => Math.floor(((index + 0.5) / count) * 3);
  return PLACES[third(peak.y, grid.length)][third(peak.x, grid[0].length)];
}

/** Whether all grids are the same but for rounding. */
export function still(grids) {
  return grids.length > 1 && grids.every((grid) =>
    grid.every((row, y) => row.every((value, x) => Math.abs(value - grids[0][y][x]) < 1e-6)));
}
