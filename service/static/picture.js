// Pixels: opening a picture upright, and painting it with boxes or blurred faces.

const LONGEST = 2560; // what is kept for the screen; a download is painted from the file itself
const MARK = "#2ee6ae";
const DARK = "#04251b";

// The picture as the screen needs it, upright (EXIF applied), or null where this browser cannot
// show the format: {bitmap, width, height}, the size being that of the file.
export async function openPicture(file) {
  const bitmap = await decode(file);
  if (bitmap === null) return null;
  const { width, height } = bitmap;
  const scale = LONGEST / Math.max(width, height);
  if (scale >= 1) return { bitmap, width, height };
  const smaller = await createImageBitmap(bitmap, {
    resizeWidth: Math.max(1, Math.round(width * scale)),
    resizeHeight: Math.max(1, Math.round(height * scale)),
    resizeQuality: "high",
  });
  bitmap.close();
  return { bitmap: smaller, width, height };
}

async function decode(file) {
  try {
    return await createImageBitmap(file); // upright: EXIF is applied unless one asks otherwise
  } catch {
    return null;
  }
}

// Paint picture and faces on the canvas, sharp on this screen, at most room wide and high (CSS px).
export function paintView(canvas, scene, room) {
  const { width, height } = scene.size;
  const scale = Math.min(room.width / width, room.height / height, 3);
  const density = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * scale * density));
  canvas.height = Math.max(1, Math.round(height * scale * density));
  canvas.style.width = `${canvas.width / density}px`;
  canvas.style.height = `${canvas.height / density}px`;
  paint(canvas, scene, density);
}

// The picture at its full size, painted the same way, as a PNG or (photographs) JPEG blob.
export async function paintFile(file, scene) {
  const bitmap = await decode(file);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  paint(canvas, { ...scene, bitmap }, Math.max(1, Math.max(bitmap.width, bitmap.height) / 900));
  bitmap.close();
  const type = file.type === "image/png" ? "image/png" : "image/jpeg";
  return canvas.convertToBlob({ type, quality: 0.92 });
}

// The whole picture, small and without boxes.
export function paintThumbnail(canvas, scene) {
  const scale = 160 / Math.min(scene.size.width, scene.size.height);
  canvas.width = Math.min(640, Math.round(scene.size.width * scale));
  canvas.height = Math.min(640, Math.round(scene.size.height * scale));
  paint(canvas, { ...scene, boxes: false }, 1);
}

// A square cut-out of one face, blurred if asked.
export function paintFace(canvas, scene, face) {
  const density = window.devicePixelRatio || 1;
  canvas.width = canvas.height = Math.round(44 * density);
  if (scene.bitmap === null) return;
  const { x, y, width, height } = face.box;
  const side = Math.max(width, height, 1) * 1.3;
  const cut = inBitmap(scene, {
    x: x + width / 2 - side / 2,
    y: y + height / 2 - side / 2,
    width: side,
    height: side,
  });
  const context = canvas.getContext("2d");
  const source = scene.blur ? speck(scene.bitmap, cut) : scene.bitmap;
  const from = scene.blur ? { x: 0, y: 0, width: source.width, height: source.height } : cut;
  const fit = Math.max(canvas.width / from.width, canvas.height / from.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(
    source, from.x, from.y, from.width, from.height,
    (canvas.width - from.width * fit) / 2, (canvas.height - from.height * fit) / 2,
    from.width * fit, from.height * fit,
  );
}

// scene: {bitmap | null, size (of the upright image: what boxes are measured in), faces, boxes, blur, lit};
// unit: device pixels a CSS pixel.
function paint(canvas, scene, unit) {
  const context = canvas.getContext("2d");
  const scale = canvas.width / scene.size.width;
  context.imageSmoothingQuality = "high";
  if (scene.bitmap === null) paintPlate(context, canvas, unit);
  else context.drawImage(scene.bitmap, 0, 0, canvas.width, canvas.height);
  if (scene.blur && scene.bitmap !== null) {
    for (const face of scene.faces) paintBlur(context, scene, face.box, scale);
  }
  if (!scene.boxes) return;
  // The best face on top; of labels that would cover each other, the better one.
  const order = scene.faces.map((_, index) => index).reverse();
  for (const i of order) paintBox(context, scene.faces[i].box, scale, unit, i === scene.lit);
  const taken = [];
  const labelled = order.reverse().sort((a, b) => Number(b === scene.lit) - Number(a === scene.lit));
  for (const i of labelled) paintScore(context, scene.faces[i], scale, unit, taken, i === scene.lit);
}

function paintPlate(context, canvas, unit) {
  context.fillStyle = "#26302d";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#e8efec";
  context.font = `${14 * unit}px Inter, system-ui, sans-serif`;
  context.textAlign = "center";
  const words = "This browser cannot show the format; the boxes are right.";
  context.fillText(words, canvas.width / 2, canvas.height / 2, canvas.width * 0.9);
}

// Shrinking to a few pixels and back loses the face for good, whatever the size of the canvas. The
// ellipse reaches past the box's corners.
function paintBlur(context, scene, box, scale) {
  const grown = {
    x: box.x - box.width * 0.2,
    y: box.y - box.height * 0.2,
    width: box.width * 1.4,
    height: box.height * 1.4,
  };
  const inside = inImage(scene, grown);
  if (inside.width <= 0 || inside.height <= 0) return;
  context.save();
  context.beginPath();
  context.ellipse(
    (grown.x + grown.width / 2) * scale, (grown.y + grown.height / 2) * scale,
    (grown.width / 2) * scale, (grown.height / 2) * scale, 0, 0, 2 * Math.PI,
  );
  context.clip();
  context.drawImage(
    speck(scene.bitmap, inBitmap(scene, grown)),
    inside.x * scale, inside.y * scale, inside.width * scale, inside.height * scale,
  );
  context.restore();
}

// A part of the bitmap in a handful of pixels.
function speck(bitmap, part) {
  const across = 7 / Math.max(part.width, part.height);
  const canvas = new OffscreenCanvas(
    Math.max(1, Math.round(part.width * across)), Math.max(1, Math.round(part.height * across)),
  );
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(
    bitmap, part.x, part.y, part.width, part.height, 0, 0, canvas.width, canvas.height,
  );
  return canvas;
}

function inImage({ size }, box) {
  const x = Math.max(0, box.x);
  const y = Math.max(0, box.y);
  return {
    x,
    y,
    width: Math.min(size.width, box.x + box.width) - x,
    height: Math.min(size.height, box.y + box.height) - y,
  };
}

// The same part in the bitmap's own pixels: the bitmap may be smaller than the image.
function inBitmap(scene, box) {
  const inside = inImage(scene, box);
  const across = scene.bitmap.width / scene.size.width;
  const down = scene.bitmap.height / scene.size.height;
  return {
    x: inside.x * across,
    y: inside.y * down,
    width: Math.max(1, inside.width * across),
    height: Math.max(1, inside.height * down),
  };
}

function paintBox(context, box, scale, unit, lit) {
  const x = box.x * scale;
  const y = box.y * scale;
  const width = box.width * scale;
  const height = box.height * scale;
  const shorter = Math.min(width, height);
  const corner = shorter * 0.28;
  const line = Math.min(2 * unit, Math.max(unit, shorter / 24)) * (lit ? 1.6 : 1);
  context.lineJoin = "round";
  context.lineCap = "round";
  // A dark line below the bright one keeps the box visible on any picture.
  for (const [colour, thin, thick] of [
    [DARK, line * 1.1, line * 2.4],
    [MARK, line * 0.45, line * 1.5],
  ]) {
    context.strokeStyle = colour;
    context.globalAlpha = colour === DARK ? 0.55 : 1;
    context.lineWidth = thin;
    context.strokeRect(x, y, width, height);
    context.lineWidth = thick;
    context.beginPath();
    for (const [cx, cy, dx, dy] of [
      [x, y, 1, 1], [x + width, y, -1, 1], [x + width, y + height, -1, -1], [x, y + height, 1, -1],
    ]) {
      context.moveTo(cx + dx * corner, cy);
      context.lineTo(cx, cy);
      context.lineTo(cx, cy + dy * corner);
    }
    context.stroke();
  }
  context.globalAlpha = 1;
}

// The score above its box (or below, at the picture's upper edge), unless the box is tiny or the
// place is taken.
function paintScore(context, { box, score }, scale, unit, taken, lit) {
  if (!lit && box.width * scale < 26 * unit) return;
  const text = formatScore(score);
  context.font = `600 ${12 * unit}px Inter, system-ui, sans-serif`;
  context.textAlign = "left";
  context.textBaseline = "middle";
  const width = context.measureText(text).width + 10 * unit;
  const height = 18 * unit;
  const gap = 5 * unit;
  const x = Math.max(0, Math.min(box.x * scale, context.canvas.width - width));
  const above = box.y * scale - height - gap;
  const below = Math.min((box.y + box.height) * scale + gap, context.canvas.height - height);
  const y = above >= 0 ? above : below;
  const covers = (other) =>
    x < other.x + other.width && other.x < x + width &&
    y < other.y + other.height && other.y < y + height;
  if (taken.some(covers)) return;
  taken.push({ x, y, width, height });
  context.fillStyle = MARK;
  context.beginPath();
  context.roundRect(x, y, width, height, 5 * unit);
  context.fill();
  context.fillStyle = DARK;
  context.fillText(text, x + 5 * unit, y + height / 2 + unit * 0.5);
}

// Two digits, and never a rounded-up 1.00.
export function formatScore(score) {
  return (Math.floor(score * 100 + 1e-6) / 100).toFixed(2);
}

// The index of the smallest face of the scene under the pointer, or null.
export function faceAt(canvas, scene, { clientX, clientY }) {
  const shown = canvas.getBoundingClientRect();
  const x = ((clientX - shown.left) / shown.width) * scene.size.width;
  const y = ((clientY - shown.top) / shown.height) * scene.size.height;
  const area = (index) => scene.faces[index].box.width * scene.faces[index].box.height;
  return scene.faces.reduce((best, { box }, index) => {
    const inside = x >= box.x && x <= box.x + box.width && y >= box.y && y <= box.y + box.height;
    return inside && (best === null || area(index) < area(best)) ? index : best;
  }, null);
}
