// Writes docs/examples/service/static/validators.js: ajv's validators of the published schemas, as
// code that a browser loads as it is. Needs no other file, and no eval.
//
// node tests/javascript/standalone.mjs > docs/examples/service/static/validators.js

import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import standaloneCode from "ajv/dist/standalone/index.js";

const [steps, settings] = ["template_config", "generation_config"].map((kind) =>
  JSON.parse(
    readFileSync(new URL(`../../schemas/${kind}.submitted.1.schema.json`, import.meta.url)),
  ),
);
const ajv = new Ajv2020({
  allErrors: true,
  verbose: true, // An error has the part of the schema that it breaks, with its description.
  code: { source: true, esm: true, lines: true },
  schemas: [steps, settings],
});
const code = standaloneCode.default(ajv, {
  validateSteps: steps.$id,
  validateSettings: settings.$id,
});
// ajv imports the function that counts characters, which a browser cannot.
const imported = 'require("ajv/dist/runtime/ucs2length").default';
if (code.split("require(").length !== code.split(imported).length) {
  throw new Error("the validators import more than the function that counts characters");
}
const words = {
  CHANNELS: steps.items.properties.channel.enum,
  CONDITIONS: steps.items.properties.condition.enum,
  TONES: settings.properties.tone.enum,
};
process.stdout.write(
  [
    "// Written by tests/javascript/standalone.mjs from the published schemas; do not edit.",
    ...Object.entries(words).map(
      ([name, values]) => `export const ${name} = ${JSON.stringify(values)};`,
    ),
    code.replaceAll(imported, "(text) => [...text].length").trimEnd(),
    "",
  ].join("\n"),
);
