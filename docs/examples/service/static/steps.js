// The editor of steps and settings. ajv's validators of the published schemas check every edit. The
// server checks what is saved again, and its violations appear in the same way as ajv's errors.

import { may, renderPanel, show, view } from "./app.js";
import { Refusal, at, attempt, call, capital, h, plural, speak, update } from "./base.js";
import { CHANNELS, CONDITIONS, TONES, validateSettings, validateSteps } from "./validators.js";

let draft = null; // The edited steps and settings; null while nothing is edited.
let faults = new Map(); // Sentences about the draft, by document and JSON Pointer.
let layout = 0; // Grows when steps come, go or move, so that the fields are built again.

export function forgetDraft() {
  draft = null;
  faults = new Map();
  layout += 1;
}

const stored = () => ({
  version: view.campaign.version,
  steps: structuredClone(view.campaign.steps),
  settings: structuredClone(view.campaign.generation_config),
});

export function renderSteps() {
  const isEditable = may("edit_steps") && may("edit_config");
  const documents = draft ?? stored();
  const data = [view.campaign.id, documents.version, isEditable, layout];
  update(at("panel"), data, () =>
    h(
      "form",
      { class: "stack", novalidate: true, onsubmit: save },
      !isEditable &&
        h("p", { class: "muted" }, "Steps and settings can be edited in status draft or ready."),
      h(
        "fieldset",
        { class: "stack", disabled: !isEditable },
        h("legend", { class: "visually-hidden" }, "Steps and settings"),
        h(
          "ol",
          { class: "stack" },
          documents.steps.map((step, index) => buildStep(documents.steps, step, index)),
        ),
        faultOf("template_config"),
        isEditable && h("div", {}, h("button", { type: "button", onclick: addStep }, "Add step")),
        buildSettings(documents.settings),
      ),
      buildSaveBar(),
    ),
  );
  showFaults();
}

function buildStep(steps, step, index) {
  const number = index + 1;
  const fields = fieldsOf(`template_config/${index}`, step, (documents) => documents.steps[index]);
  const button = (name, text, label, isOff, work) => {
    const properties = { "aria-label": label, title: label, disabled: isOff, onclick: work };
    return h(
      "button",
      { id: `${name}-${index}`, class: "icon", type: "button", ...properties },
      text,
    );
  };
  const isLast = number === steps.length;
  return h(
    "li",
    { class: "card step", "aria-label": `Step ${number}` },
    h(
      "div",
      { class: "row between" },
      h(
        "span",
        { class: "row" },
        h("span", { class: "place", "aria-hidden": "true" }, String(number)),
        fields.check("enabled", "Enabled"),
        fields.check("needs_pdf", "Needs a PDF"),
        step.key && h("span", { class: "key" }, `key ${step.key}`),
      ),
      h(
        "span",
        { class: "row" },
        button("up", "\u2191", `Move step ${number} up`, index === 0, () => moveStep(index, -1)),
        button("down", "\u2193", `Move step ${number} down`, isLast, () => moveStep(index, 1)),
        button("remove", "\u00d7", `Remove step ${number}`, false, () => removeStep(index)),
      ),
    ),
    h(
      "div",
      { class: "grid" },
      fields.select("channel", "Channel", CHANNELS),
      fields.text("label", "Label"),
    ),
    h(
      "div",
      { class: "small" },
      fields.number("day_offset", "Day"),
      fields.number("variant_count", "Variants"),
      fields.select("condition", "Condition", CONDITIONS),
    ),
  );
}

function buildSettings(settings) {
  const fields = fieldsOf("generation_config", settings, (documents) => documents.settings);
  return h(
    "div",
    { class: "card stack" },
    h("h3", {}, "Settings"),
    h(
      "div",
      { class: "settings" },
      fields.select("tone", "Tone", ["", ...TONES]),
      fields.text("language", "Language"),
      fields.text("budget", "Budget"),
      h("div", { class: "wide" }, fields.text("custom_instructions", "Instructions to the writer")),
    ),
  );
}

// Functions that build fields of an object, `values`. `part` finds this object in the draft, and
// `path` in the faults.
function fieldsOf(path, values, part) {
  const set = (name, value) =>
    edit((documents) => {
      if (value === "") delete part(documents)[name];
      else part(documents)[name] = value;
    });
  const build = (tag, name, label, properties, ...children) => {
    const id = `${path}/${name}`;
    return h(
      "div",
      { class: "field" },
      h("label", { for: id }, label),
      h(tag, { id, ...properties }, ...children),
      faultOf(id),
    );
  };
  const input = (name, label, read, properties) =>
    build("input", name, label, {
      value: values[name] ?? "",
      autocomplete: "off",
      oninput: ({ target }) => set(name, read(target.value.trim())),
      ...properties,
    });
  // Text that is no number stays text: the validator says what is wrong with it.
  const number = (text) => (text === "" || Number.isNaN(Number(text)) ? text : Number(text));
  return {
    text: (name, label) => input(name, label, String, {}),
    number: (name, label) => input(name, label, number, { inputmode: "numeric" }),
    select(name, label, options) {
      const chosen = values[name] ?? options[0];
      const all = [...new Set([...options, chosen])]; // A stored word may be unknown.
      return build(
        "select",
        name,
        label,
        { onchange: ({ target }) => set(name, target.value) },
        all.map((one) =>
          h("option", { value: one, selected: one === chosen }, capital(one) || "None"),
        ),
      );
    },
    check(name, label) {
      const onchange = ({ target }) => set(name, target.checked);
      const properties = { type: "checkbox", checked: values[name], onchange };
      return h(
        "label",
        { class: "check" },
        h("input", { id: `${path}/${name}`, ...properties }),
        label,
      );
    },
  };
}

// The place of the sentence about a field; showFaults writes it.
const faultOf = (path) => h("span", { class: "fault", id: `fault-${path}`, "data-path": path });

function buildSaveBar() {
  return h(
    "div",
    { id: "save-bar", class: "card save row between" },
    h("span", { id: "save-state", role: "status" }),
    h(
      "span",
      { class: "row" },
      h("button", { type: "button", onclick: discard }, "Discard"),
      h("button", { class: "primary" }, "Save"),
    ),
  );
}

function showFaults() {
  at("save-bar").hidden = draft === null;
  at("save-state").className = faults.size ? "fault" : "muted";
  at("save-state").textContent = faults.size
    ? `${plural(faults.size, "fault")} to correct`
    : "Not saved yet";
  for (const place of document.querySelectorAll("[data-path]")) {
    const { path } = place.dataset;
    place.textContent = faults.get(path) ?? "";
    if (faults.has(path)) {
      at(path)?.setAttribute("aria-invalid", "true");
      at(path)?.setAttribute("aria-describedby", place.id);
    } else {
      at(path)?.removeAttribute("aria-invalid");
      at(path)?.removeAttribute("aria-describedby");
    }
  }
}

function edit(work) {
  draft ??= stored();
  work(draft);
  validate();
  showFaults();
}

function rearrange(work) {
  layout += 1;
  edit(work);
  renderSteps();
}

// Day offsets belong to places, not to steps, so they stay where they are.
function moveStep(index, by) {
  rearrange(({ steps }) => {
    const other = index + by;
    const days = [steps[index].day_offset, steps[other].day_offset];
    [steps[index], steps[other]] = [steps[other], steps[index]];
    [steps[index].day_offset, steps[other].day_offset] = days;
  });
  const names = by < 0 ? ["up", "down"] : ["down", "up"];
  names
    .map((name) => at(`${name}-${index + by}`))
    .find((button) => !button.disabled)
    .focus();
  speak(`Step moved to place ${index + by + 1}`);
}

const removeStep = (index) => rearrange(({ steps }) => steps.splice(index, 1));

function addStep() {
  rearrange(({ steps }) =>
    steps.push({
      channel: "email",
      label: "",
      enabled: true,
      needs_pdf: false,
      variant_count: 1,
      day_offset: steps.at(-1)?.day_offset,
    }),
  );
  at(`template_config/${draft.steps.length - 1}/label`).focus();
}

function validate() {
  draft.steps.forEach((step, index) => {
    step.step = index + 1;
    if (step.day_offset === undefined) delete step.day_offset;
  });
  faults = new Map();
  for (const [name, validator, value] of [
    ["template_config", validateSteps, draft.steps],
    ["generation_config", validateSettings, draft.settings],
  ]) {
    validator(value);
    for (const error of validator.errors ?? []) {
      const { missingProperty } = error.params;
      const path = error.instancePath + (missingProperty ? `/${missingProperty}` : "");
      faults.set(name + path, sentenceOf(error));
    }
  }
}

function sentenceOf({ instancePath, keyword, params, parentSchema, message }) {
  if (keyword === "required" || (keyword === "minLength" && params.limit === 1))
    return "must be given";
  if (keyword !== "pattern") return message;
  // The schema describes the amount in JSON, which is in quotes.
  if (instancePath === "/budget") return "must be an amount such as 25.00";
  return `must be ${parentSchema.description}`;
}

function discard() {
  forgetDraft();
  renderSteps();
}

function save(event) {
  event.preventDefault();
  if (!draft) return;
  if (faults.size) return focusFault();
  const { version, steps, settings } = draft;
  const { id } = view.campaign;
  attempt(async () => {
    try {
      const body = { version, steps, generation_config: settings };
      const answer = await call("PUT", `campaigns/${id}`, body);
      forgetDraft();
      show(answer);
      renderPanel();
      speak("Saved");
    } catch (error) {
      // What no schema can say, such as two steps with the same key, only the server finds.
      if (!(error instanceof Refusal && error.answer.violations)) throw error;
      for (const { path, message } of error.answer.violations) {
        faults.set(error.answer.document + path, message);
      }
      showFaults();
      focusFault();
    }
  });
}

const focusFault = () => document.querySelector("#panel [aria-invalid]")?.focus();
