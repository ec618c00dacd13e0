// Ties the parts together: what is drawn when the state changes, and what the controls do.

import { askAll, loadModels, retry, take } from "./asking.js";
import { curlOf } from "./curl.js";
import { closeCamera, openCamera, takeFrame } from "./camera.js";
import { lightFace, listFaces, onPointAtItem, tickScores } from "./faces.js";
import { showStrip } from "./filmstrip.js";
import { takePictures } from "./intake.js";
import { currentKey, onKey } from "./key.js";
import { badgeOf, showProblem, showResult } from "./messages.js";
import { faceAt, paintFile, paintView } from "./picture.js";
import { changed, choose, complain, onChange, sceneOf, state } from "./state.js";
import { showTimes } from "./times.js";

const element = (id) => document.getElementById(id);
const slider = element("score");
const view = element("view");
const canvas = element("canvas");
const LOW_SCORE = 0.3; // offered to those who blur faces: most faces score higher
let sliderMoved = false;

/* drawing */

onChange(() => {
  const photo = state.current;
  const scene = sceneOf(photo);
  view.dataset.shows = state.camera ? "camera" : scene ? "canvas" : "welcome";
  for (const part of ["welcome", "canvas", "camera"]) {
    element(part).hidden = view.dataset.shows !== part;
  }
  element("busy").hidden = !photo?.abort;
  // Without its answer nothing is known to blur.
  element("download").disabled = !(photo?.picture && photo.answer);
  showProblem(state.complaint, photo, state.photos, tryAgain);
  showResult(photo);
  if (view.dataset.shows === "canvas") paintStage(scene);
  drawFaces(photo, scene);
  showTimes(photo?.answer ?? null, photo?.roundTrip);
  element("json").textContent = photo?.answer ? JSON.stringify(photo.answer, null, 2) : "{}";
  element("curl").textContent = curlOf(photo, Boolean(currentKey()));
  element("blur-warning").hidden = !state.blur;
  element("blur-more").hidden = state.minScore <= LOW_SCORE;
  showStrip(state.photos, photo, { badgeOf, sceneOf, choose });
});

function paintStage(scene) {
  const room = { width: view.clientWidth, height: Math.max(240, window.innerHeight * 0.74) };
  paintView(canvas, scene, room);
}

let listed = {}; // what the list of faces was built from

function drawFaces(photo, scene) {
  const basis = { answer: photo?.answer, picture: photo?.picture, blur: scene?.blur };
  const fresh = Object.keys(basis).some((key) => basis[key] !== listed[key]);
  listed = basis;
  listFaces(scene ?? { faces: [] }, fresh);
  lightFace(state.lit);
  element("faces-empty").hidden = Boolean(scene?.faces.length);
  element("score-value").textContent = state.minScore.toFixed(2);
  const range = { min: Number(slider.min), max: Number(slider.max) };
  tickScores(photo?.answer?.faces ?? [], range, state.minScore);
}

function light(index) {
  if (state.lit === index) return;
  state.lit = index;
  const scene = sceneOf(state.current);
  if (scene) paintStage(scene);
  lightFace(index);
}

/* models */

async function start() {
  if (!(await loadModels())) return false;
  element("model").replaceChildren(...state.models.map(({ name }) => new Option(name)));
  element("model-field").hidden = state.models.length < 2;
  useModel();
  return true;
}

// Start the slider at the model's own threshold, unless the user has moved it.
function useModel() {
  const { model } = state;
  if (model === null) return;
  if (!sliderMoved) {
    slider.value = String(model.thresholds.min_score);
    state.minScore = Number(slider.value);
  }
  element("model-line").textContent =
    `${model.name} version ${model.version}, run on ${model.provider}`;
  changed();
}

async function tryAgain() {
  if (state.models.length === 0) await start();
  await retry();
}

/* controls */

async function setCamera(on) {
  if (on) {
    try {
      if (!(await openCamera())) return;
    } catch (error) {
      complain(error.message);
      return;
    }
    state.complaint = null;
  } else {
    closeCamera();
  }
  state.camera = on;
  for (const part of ["welcome", "canvas"]) element(part).hidden = on;
  element("camera").hidden = !on;
  element(on ? "capture" : "camera-open").focus();
  changed();
}

async function takeAndClose(files) {
  if (state.camera) await setCamera(false);
  await take(files);
}

async function download() {
  const photo = state.current;
  let blob;
  try {
    blob = await paintFile(photo.file, { ...sceneOf(photo), lit: null });
  } catch {
    complain(`${photo.name} can no longer be read: choose it again.`);
    return;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${photo.name.replace(/\.[^.]*$/, "")}-faces.${blob.type.split("/")[1]}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

takePictures(takeAndClose, complain);
onKey(async () => {
  if (await start()) await retry();
});
onPointAtItem(light);
canvas.addEventListener("pointermove", (event) => light(faceAt(canvas, sceneOf(state.current), event)));
canvas.addEventListener("pointerleave", () => light(null));
slider.addEventListener("input", () => {
  sliderMoved = true;
  Object.assign(state, { minScore: Number(slider.value), lit: null });
  changed();
});
element("show-boxes").addEventListener("change", ({ target }) => {
  state.boxes = target.checked;
  changed();
});
element("blur").addEventListener("change", ({ target }) => {
  state.blur = target.checked;
  changed();
});
element("blur-more").addEventListener("click", () => {
  slider.value = String(LOW_SCORE);
  slider.dispatchEvent(new Event("input"));
});
element("tiles").addEventListener("change", ({ target }) => {
  state.tiles = target.checked;
  askAll(state.photos);
});
element("model").addEventListener("change", ({ target }) => {
  state.model = state.models[target.selectedIndex];
  useModel();
  askAll(state.photos);
});
element("camera-open").addEventListener("click", () => setCamera(true));
element("camera-close").addEventListener("click", () => setCamera(false));
element("capture").addEventListener("click", async () => takeAndClose([await takeFrame()]));
element("download").addEventListener("click", download);

let width = 0;
new ResizeObserver(([{ contentRect }]) => {
  if (contentRect.width !== width) changed(); // its height follows from the canvas
  width = contentRect.width;
}).observe(view);
window.addEventListener("resize", changed);

start();
