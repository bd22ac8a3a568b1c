// Answers whether the published schemas accept documents, as a browser would.
//
// node judge.mjs SCHEMA_FILE... reads lines. Each line is a JSON array of [$id of a schema, text of
// a document]. The answer is a line too: a JSON array of true and false, in the same order.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Ajv2020 } from "ajv/dist/2020.js";

const ajv = new Ajv2020({ strict: true });
for (const file of process.argv.slice(2)) {
  ajv.addSchema(JSON.parse(readFileSync(file, "utf8")));
}

function accepts(schema, text) {
  let document;
  try {
    document = JSON.parse(text);
  } catch {
    return false;
  }
  return ajv.getSchema(schema)(document);
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(JSON.parse(line).map(([schema, text]) => accepts(schema, text))));
}
