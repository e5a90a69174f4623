// The AI SDK with its Cohere provider against a running server: order and scores are those of the command line.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createCohere } from "@ai-sdk/cohere";
import { rerank } from "ai";

const [baseURL, file] = process.argv.slice(2);
const { query, texts, results: expected } = JSON.parse(readFileSync(file, "utf8"));
const cohere = createCohere({ apiKey: "key", baseURL: `${baseURL}/v2` });

const check = (client, ranking) => {
  assert.equal(ranking.length, expected.length);
  ranking.forEach(({ originalIndex, score }, place) => {
    assert.equal(originalIndex, expected[place].index, client);
    assert.ok(Math.abs(score - expected[place].score) < 1e-6, client);
  });
  console.log(`${client}: ${ranking.length} results in order, scores as on the command line`);
};

const { ranking } = await rerank({ model: cohere.reranking("m"), query, documents: texts });
check("ai with @ai-sdk/cohere", ranking);
// Objects come as JSON in a string.
const objects = await rerank({ model: cohere.reranking("m"), query, documents: texts.map((text) => ({ text })), topN: 2 });
assert.equal(objects.ranking.length, 2);
assert.equal(objects.rerankedDocuments[0].text, texts[expected[0].index]);
