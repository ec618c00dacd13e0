// How pictures get in: chosen, dropped anywhere on the page, pasted, or the sample.

const veil = document.getElementById("drop-veil");

// Call take(files) with one or more files or blobs whenever the user gives some, and refuse(words)
// when what was given holds no file.
export function takePictures(take, refuse) {
  const input = document.getElementById("file");
  input.addEventListener("change", () => {
    if (input.files.length > 0) take([...input.files]);
    input.value = ""; // so that the same file can be chosen again
  });

  document.getElementById("sample").addEventListener("click", async () => {
    try {
      const response = await fetch(new URL("sample.jpg", import.meta.url));
      if (!response.ok) throw new Error(response.statusText);
      take([new File([await response.blob()], "sample.jpg", { type: "image/jpeg" })]);
    } catch {
      refuse("The sample picture could not be fetched. Is the service still running?");
    }
  });

  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length > 0) {
      event.preventDefault();
      take(files);
    } else if (!isTextField(event.target)) {
      refuse("The clipboard has no picture. Copy an image or an image file, then paste again.");
    }
  });

  let depth = 0; // dragenter and dragleave also come from every element passed over
  const veilFor = (change) => {
    depth = change === 0 ? 0 : Math.max(0, depth + change);
    veil.hidden = depth === 0;
  };
  const carriesFiles = (event) => event.dataTransfer.types.includes("Files");
  document.addEventListener("dragenter", (event) => carriesFiles(event) && veilFor(+1));
  document.addEventListener("dragleave", (event) => carriesFiles(event) && veilFor(-1));
  document.addEventListener("dragover", (event) => {
    if (!isTextField(event.target)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    veilFor(0);
    const files = [...event.dataTransfer.files];
    if (files.length === 0 && isTextField(event.target)) return;
    event.preventDefault();
    if (files.length > 0) take(files);
    else refuse("That was not a file. Save the picture first, then drop the file here.");
  });
}

function isTextField(target) {
  return target instanceof HTMLInputElement && target.type === "password";
}
