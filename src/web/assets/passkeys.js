// @ts-check
// Passkeys: registered in the settings, signed in with, given as the second factor of a form. What the browser is asked
// and what it answers go to the API as they are; nothing is decided here.

/**
 * Where forms ask for a passkey, by `data-passkey`; without WebAuthn they stay as they are.
 * `confirm`: a form of its own. `factor`: part of a form that goes on once the passkey was given.
 */
export function startPasskeys() {
  if (!window.PublicKeyCredential || !navigator.credentials) return;
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    if (!(form instanceof HTMLFormElement)) continue;
    form.hidden = false;
    const use = form.querySelector("[data-passkey-use]");
    if (use instanceof HTMLElement) use.hidden = false;
    if (form.dataset.passkey === "register") onSubmit(form, () => register(form));
    if (form.dataset.passkey === "sign-in") onClick(form, use, () => signIn(form));
    if (form.dataset.passkey === "confirm") {
      onClick(form, use, async () => {
        await stepUp(form);
        location.assign("/settings");
      });
    }
    if (form.dataset.passkey === "factor") goOnWithPasskey(form, use);
  }
}

/**
 * A form that asks for a second factor: sent without a code, it asks for the passkey first, then goes on.
 * @param {HTMLFormElement} form
 * @param {Element | null} use
 */
function goOnWithPasskey(form, use) {
  if (!use) return;
  const code = form.elements.namedItem("code");
  if (code instanceof HTMLInputElement) code.required = false;
  let isGiven = false;
  const give = async () => {
    await stepUp(form);
    isGiven = true;
    if (use instanceof HTMLButtonElement) use.disabled = true;
    say(form, "Your passkey was given.");
  };
  onClick(form, use, give);
  // Before the handler that lets a form be sent once: what waits for the passkey was not sent.
  form.addEventListener(
    "submit",
    (event) => {
      if (isGiven || (code instanceof HTMLInputElement && code.value.trim() !== "")) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      const sender = event.submitter;
      attempt(form, async () => {
        await give();
        form.requestSubmit(sender);
      });
    },
    { capture: true },
  );
}

/** @param {HTMLFormElement} form */
async function register(form) {
  const begun = await call("/api/v1/me/passkeys/begin", {}, form);
  const options = begun.options.publicKey;
  const made = await navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: bytes(options.challenge),
      user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: (options.excludeCredentials ?? []).map(key),
    },
  });
  if (!(made instanceof PublicKeyCredential) || !(made.response instanceof AuthenticatorAttestationResponse)) {
    throw new Error("the browser has made no passkey");
  }
  const response = {
    attestationObject: text(made.response.attestationObject),
    clientDataJSON: text(made.response.clientDataJSON),
  };
  const name = field(form, "name");
  await call("/api/v1/me/passkeys/finish", { ceremony: begun.ceremony, name, credential: answer(made, response) }, form);
  location.assign("/settings");
}

/**
 * Nobody says who signs in: the browser asks which key, and the key says whose it is.
 * @param {HTMLFormElement} form
 */
async function signIn(form) {
  const begun = await call("/api/v1/session/passkey/begin", {}, form);
  await call("/api/v1/session/passkey/finish", await given(begun), form);
  // The server lets it lead to a page of this address alone.
  location.assign(field(form, "next"));
}

/** @param {HTMLFormElement} form */
async function stepUp(form) {
  const begun = await call("/api/v1/session/step-up/begin", {}, form);
  await call("/api/v1/session/step-up/finish", await given(begun), form);
}

/**
 * The browser's answer to what it is asked.
 * @param {{ ceremony: string, options: any }} begun
 */
async function given(begun) {
  const options = begun.options.publicKey;
  const found = await navigator.credentials.get({
    publicKey: {
      ...options,
      challenge: bytes(options.challenge),
      allowCredentials: (options.allowCredentials ?? []).map(key),
    },
  });
  if (!(found instanceof PublicKeyCredential) || !(found.response instanceof AuthenticatorAssertionResponse)) {
    throw new Error("the browser has given no passkey");
  }
  const { authenticatorData, clientDataJSON, signature, userHandle } = found.response;
  const response = {
    authenticatorData: text(authenticatorData),
    clientDataJSON: text(clientDataJSON),
    signature: text(signature),
    userHandle: userHandle ? text(userHandle) : null,
  };
  return { ceremony: begun.ceremony, credential: answer(found, response) };
}

/**
 * @param {PublicKeyCredential} credential
 * @param {object} response
 */
function answer(credential, response) {
  return { id: credential.id, rawId: text(credential.rawId), type: credential.type, extensions: {}, response };
}

/**
 * @param {string} path
 * @param {object} body
 * @param {HTMLFormElement} form
 * @returns {Promise<any>}
 */
async function call(path, body, form) {
  const headers = { "content-type": "application/json", "x-csrf-token": field(form, "_csrf") };
  // A call without a body of its own takes none.
  const sent = Object.keys(body).length > 0 ? JSON.stringify(body) : undefined;
  const answered = await fetch(path, { method: "POST", headers, body: sent });
  const told = await answered.json();
  if (!answered.ok) throw new Error(`${told.detail}: ${told.next_step}`);
  return told;
}

/**
 * @param {HTMLFormElement} form
 * @param {() => Promise<void>} work
 */
function onSubmit(form, work) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(form, work);
  });
}

/**
 * @param {HTMLFormElement} form
 * @param {Element | null} button
 * @param {() => Promise<void>} work
 */
function onClick(form, button, work) {
  button?.addEventListener("click", () => attempt(form, work));
}

/**
 * @param {HTMLFormElement} form
 * @param {() => Promise<void>} work
 */
async function attempt(form, work) {
  say(form, "");
  try {
    await work();
  } catch (error) {
    // Whoever closes the browser's question has decided against it: no fault of theirs.
    const isClosed = error instanceof DOMException && error.name === "NotAllowedError";
    say(form, isClosed ? "No passkey was given." : error instanceof Error ? error.message : String(error));
  }
}

/**
 * @param {HTMLFormElement} form
 * @param {string} words
 */
function say(form, words) {
  const said = form.querySelector("[data-passkey-said]");
  if (said) said.textContent = words;
}

/**
 * @param {HTMLFormElement} form
 * @param {string} name
 */
function field(form, name) {
  const found = form.elements.namedItem(name);
  return found instanceof HTMLInputElement ? found.value : "";
}

/** @param {{ id: string, type: PublicKeyCredentialType }} known */
function key(known) {
  return { ...known, id: bytes(known.id) };
}

/**
 * Base 64 for URLs, as bytes.
 * @param {string} encoded
 */
function bytes(encoded) {
  const plain = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

/** @param {ArrayBuffer} buffer */
function text(buffer) {
  const plain = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
