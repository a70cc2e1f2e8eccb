// @ts-check
// Puts a file's text into the field beside it, so that rules need not be pasted. Nothing is sent by this.

/** Longer texts do not fit into one form. Units: bytes. */
const FILE_BYTES_MAX = 48 * 1024;

export function startFile() {
  const part = document.querySelector("[data-file]");
  const from = document.querySelector("[data-file-from]");
  const into = document.querySelector("[data-file-into]");
  if (!(part instanceof HTMLElement) || !(from instanceof HTMLInputElement)) return;
  if (!(into instanceof HTMLTextAreaElement)) return;
  part.hidden = false;
  from.addEventListener("change", async () => {
    const file = from.files?.[0];
    const isTooLong = file !== undefined && file.size > FILE_BYTES_MAX;
    from.setCustomValidity(isTooLong ? "This file is too long for a form: use countersign policy replay." : "");
    from.reportValidity();
    if (file && !isTooLong) into.value = await file.text();
  });
}
