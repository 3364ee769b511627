"use strict";
// Takes a photograph with the camera of the device.

/** Opens a dialog that shows what the camera sees; `ontaken` gets the photograph as a file. Throws an Error that says in words why there is none. */
async function takePhotograph(ontaken) {
  let stream;
  try {
    if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
  } catch (error) {
    throw new Error(REASONS[error.name] ?? `the camera does not start (${error.name})`);
  }
  const video = element("video", { playsinline: true, muted: true, "aria-label": "What the camera sees" });
  const close = () => dialog.close();
  const take = async () => {
    button.disabled = true; // A second click takes no second photograph.
    const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    close();
    ontaken(new File([blob], "photograph.png", { type: "image/png" }));
  };
  const button = element("button", { type: "button", disabled: true, click: take }, "Take the photograph");
  const dialog = element(
    "dialog",
    { class: "camera", "aria-label": "Camera", close: () => (stream.getTracks().forEach((track) => track.stop()), dialog.remove()) },
    video,
    element("div", { class: "actions" }, button, element("button", { type: "button", click: close }, "Close")),
  );
  document.body.append(dialog);
  dialog.showModal();
  video.muted = true;
  video.srcObject = stream;
  try {
    await video.play();
  } catch (error) {
    if (!dialog.open) return; // It was closed before the first image came.
    close();
    throw new Error(`the camera does not start (${error.name})`);
  }
  button.disabled = false;
  button.focus();
}

const REASONS = {
  NotFoundError: "this device has no camera: choose an image instead",
  OverconstrainedError: "this device has no camera: choose an image instead",
  NotAllowedError: "the browser does not let this page use the camera: allow it in the settings of the page",
  NotReadableError: "another program uses the camera: close it, then try again",
  SecurityError: "browsers let only encrypted pages (https) use the camera: choose an image instead",
};
