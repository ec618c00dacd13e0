// Pictures in, answers back: opens what was taken and asks the service about it.

import { detect, listModels } from "./api.js";
import { askForKey, currentKey } from "./key.js";
import { openPicture } from "./picture.js";
import { changed, choose, complain, state } from "./state.js";

const MOST = 24; // pictures kept
const AT_ONCE = 3; // requests under way

let batches = 0; // how often pictures were taken

export async function take(files) {
  state.complaint = null;
  batches += 1;
  const added = files.slice(0, MOST).map((file) => ({
    name: file.name || "pasted picture",
    file,
    batch: batches,
    picture: null,
    answer: null,
    asked: null,
    problem: null,
    abort: null,
  }));
  state.photos.push(...added);
  for (const old of state.photos.splice(0, Math.max(0, state.photos.length - MOST))) {
    old.abort?.abort();
    old.picture?.bitmap.close();
    old.file = null;
  }
  choose(added[0]);
  if (files.length > MOST) complain(`Only the first ${MOST} of ${files.length} pictures were taken.`);
  await Promise.all([openAll(added), askAll(added)]);
}

// One after the other: a large photograph takes a hundred megabytes while it is being opened.
async function openAll(photos) {
  for (const photo of photos) {
    if (photo.file === null) continue;
    photo.picture = await openPicture(photo.file);
    changed();
  }
}

export async function askAll(photos) {
  const waiting = photos.map((photo) => {
    photo.abort?.abort();
    const abort = new AbortController();
    Object.assign(photo, { abort, answer: null, problem: null });
    return { photo, abort };
  });
  changed();
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      // Else it is another call's by now: the user has chosen another model.
      if (next.photo.abort === next.abort) await ask(next.photo);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function ask(photo) {
  const { abort } = photo;
  const key = currentKey();
  try {
    const asked = {
      model: state.models.length > 1 ? state.model.name : "",
      minScore: state.lowest,
      tiles: state.tiles,
    };
    const { answer, roundTrip } = await detect(photo.file, asked, { key, signal: abort.signal });
    if (photo.abort !== abort) return; // asked again meanwhile
    Object.assign(photo, { answer, roundTrip, asked, abort: null });
  } catch (problem) {
    if (photo.abort !== abort) return;
    if (problem.status === 401 && currentKey() !== "" && currentKey() !== key) {
      await ask(photo); // the user gave another key meanwhile
      return;
    }
    Object.assign(photo, { problem, abort: null });
    if (photo === state.current) state.complaint = null; // what was said before is old
    if (problem.status === 401) askForKey();
  }
  changed();
}

// Fill state.models and state.model; true if it worked.
export async function loadModels() {
  try {
    state.models = await listModels(currentKey());
  } catch (problem) {
    complain(problem);
    if (problem.status === 401) askForKey();
    return false;
  }
  state.complaint = null;
  state.model = state.models[0] ?? null;
  changed();
  return true;
}

// Ask again about the pictures whose answer may be another now.
export async function retry() {
  await askAll(state.photos.filter(({ problem }) => problem?.again || problem?.status === 401));
}
