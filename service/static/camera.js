// The camera: a live picture, and a button that takes one frame of it.

const video = document.getElementById("video");

const REASONS = {
  NotAllowedError: "The browser did not allow the camera. Allow it beside the address, then try again.",
  NotFoundError: "No camera was found.",
  NotReadableError: "The camera is in use by another program.",
};

// Start the live picture; throws an Error whose message can be shown.
export async function openCamera() {
  closeCamera();
  if (!navigator.mediaDevices) {
    throw new Error("Browsers give the camera to a page over HTTPS or on localhost only.");
  }
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 960 } },
    });
    await video.play();
  } catch (error) {
    closeCamera();
    throw new Error(REASONS[error.name] ?? `The camera could not be started (${error.message}).`);
  }
}

export function closeCamera() {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

// The present frame as a JPEG file.
export async function takeFrame() {
  const frame = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  frame.getContext("2d").drawImage(video, 0, 0);
  const blob = await frame.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  return new File([blob], "camera.jpg", { type: "image/jpeg" });
}
