// What the other modules share: words, elements, and calls of the API.

export const at = (id) => document.getElementById(id);
export const words = (name) => name.replaceAll("_", " ").replace("linkedin", "LinkedIn");
export const capital = (name) => words(name).replace(/^./, (letter) => letter.toUpperCase());
export const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
export const speak = (text) => {
  at("spoken").textContent = text;
};

// --- Elements ------------------------------------------------------------------------------------

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (["value", "checked"].includes(name)) element[name] = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

const shown = new WeakMap();

// Build the content of an element again if the data has changed; keep the focus where it was.
export function update(element, data, build) {
  const key = JSON.stringify(data);
  if (shown.get(element) === key) return;
  shown.set(element, key);
  const hadFocus = element.contains(document.activeElement);
  const { id } = document.activeElement;
  element.replaceChildren(...[build(data)].flat().filter(Boolean));
  if (hadFocus) (at(id) ?? at("main")).focus();
}

export function notify(message, kind = "refusal") {
  const close = h("button", { type: "button", onclick: () => notice.remove() }, "Close");
  const notice = h("p", { class: kind }, message, close);
  at("notices").replaceChildren(notice);
}

// --- The API -------------------------------------------------------------------------------------

export class Refusal extends Error {
  constructor(answer) {
    super(answer.message ?? answer.detail?.message ?? "The service has refused this.");
    this.answer = answer;
  }
}

export async function call(method, path, body) {
  const isText = typeof body === "string" || body instanceof Blob;
  const response = await fetch(`api/${path}`, {
    method,
    headers: { "Content-Type": isText ? "text/csv" : "application/json" },
    body: body === undefined || isText ? body : JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(answer);
  return answer;
}

// Do something for the user. An error becomes a notice.
export async function attempt(work) {
  try {
    at("notices").replaceChildren();
    return await work();
  } catch (error) {
    notify(error instanceof Refusal ? error.message : "The service does not answer.");
  }
}
