// Thumbnails of the pictures, when there are several.

import { paintThumbnail } from "./picture.js";

const strip = document.getElementById("filmstrip");

// By photo, in its order: pictures come at the end and go from the start. Kept from one drawing to
// the next, so that a button which has the focus keeps it.
const entries = new Map();

// badgeOf(photo): {text, words}; sceneOf(photo): what to paint, or null before the picture is open.
export function showStrip(photos, current, { badgeOf, sceneOf, choose }) {
  strip.hidden = photos.length < 2;
  for (const [photo, { item }] of entries) {
    if (photos.includes(photo)) continue;
    item.remove();
    entries.delete(photo);
  }
  for (const photo of photos) {
    if (!entries.has(photo)) entries.set(photo, makeEntry(() => choose(photo)));
    const entry = entries.get(photo);
    const badge = badgeOf(photo);
    entry.button.setAttribute("aria-current", String(photo === current));
    entry.button.setAttribute("aria-label", `${photo.name}: ${badge.words}`);
    entry.mark.textContent = badge.text;
    entry.mark.hidden = badge.text === "";
    paint(entry, sceneOf(photo), photo.answer);
  }
}

function makeEntry(onClick) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  const mark = document.createElement("span");
  button.type = "button";
  button.append(mark);
  button.addEventListener("click", onClick);
  item.append(button);
  strip.append(item);
  return { item, button, mark, canvas: null, painted: "" };
}

function paint(entry, scene, answer) {
  if (!scene?.bitmap) return;
  const shows = JSON.stringify([answer?.request_id, scene.faces.length, scene.boxes, scene.blur]);
  if (shows === entry.painted) return;
  entry.painted = shows;
  if (!entry.canvas) {
    entry.canvas = document.createElement("canvas");
    entry.button.prepend(entry.canvas);
  }
  paintThumbnail(entry.canvas, scene);
}
