// The camera: a live picture, and a button that takes one frame of it.

const video = document.getElementById("video");

const REASONS = {
  NotAllowedError: "The browser did not allow the camera. Allow it beside the address, then try again.",
  NotFoundError: "No camera was found.",
  NotReadableError: "The camera is in use by another program.",
};

let turn = 0; // counts openings and closings: one that is overtaken gives its camera back

// Start the live picture, or false where it was closed or opened again meanwhile; throws an Error
// whose message can be shown.
export async function openCamera() {
  closeCamera();
  const mine = turn;
  if (!navigator.mediaDevices) {
    throw new Error("Browsers give the camera to a page over HTTPS or on localhost only.");
  }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 960 } },
    });
    if (mine !== turn) {
      stop(stream);
      return false;
    }
    video.srcObject = stream;
    await video.play();
    return true;
  } catch (error) {
    if (mine !== turn) return false;
    closeCamera();
    throw new Error(REASONS[error.name] ?? `The camera could not be started (${error.message}).`);
  }
}

export function closeCamera() {
  turn += 1;
  stop(video.srcObject);
  video.srcObject = null;
}

function stop(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

// The present frame as a JPEG file.
export async function takeFrame() {
  const frame = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  frame.getContext("2d").drawImage(video, 0, 0);
  const blob = await frame.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  return new File([blob], "camera.jpg", { type: "image/jpeg" });
}
