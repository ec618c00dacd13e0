// What the page knows, and what follows from it. Whoever changes it calls changed().

const slider = document.getElementById("score");

// photo: {name, file, batch (counts up with each time that pictures are taken), picture (see
// openPicture), answer, asked (its parameters), roundTrip, problem, abort}: abort is set while a
// request is under way.
export const state = {
  photos: [],
  current: null,
  models: [],
  model: null,
  minScore: Number(slider.value),
  lowest: Number(slider.min), // asked of the service once; the slider filters from here up
  boxes: true,
  blur: false,
  tiles: false,
  camera: false,
  complaint: null, // an Error that concerns no single picture
  lit: null, // the index of the face that the pointer is on
};

// The faces at or above the slider: the first few, since the answer has the best first.
export function shownFaces(photo) {
  return photo?.answer?.faces.filter(({ score }) => score >= state.minScore) ?? [];
}

// What to paint of a photo (see picture.js), or null while nothing is known of its size.
export function sceneOf(photo) {
  const size = photo?.answer?.image ?? photo?.picture;
  if (!size) return null;
  return {
    bitmap: photo.picture?.bitmap ?? null,
    size: { width: size.width, height: size.height },
    faces: shownFaces(photo),
    boxes: state.boxes,
    blur: state.blur,
    lit: state.lit,
  };
}

let draw = () => {};
let scheduled = false;

export function onChange(listener) {
  draw = listener;
}

// Draw once at the next frame, however much changes until then.
export function changed() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    draw();
  });
}

export function complain(problem) {
  state.complaint = typeof problem === "string" ? new Error(problem) : problem;
  changed();
}

export function choose(photo) {
  Object.assign(state, { current: photo, lit: null, complaint: null });
  changed();
}
