// The checks of scripts/clients with the JavaScript client. The environment names the node's address and token.

import assert from "node:assert/strict";
import OpenAI from "openai";

const model = "all-MiniLM-L6-v2";
const client = new OpenAI({ maxRetries: 0 });

const models = [];
for await (const found of client.models.list()) models.push(found.id);
assert(models.includes(model));

const input = Array.from({ length: 70 }, (_, number) => `text number ${number}`);
const packed = await client.embeddings.create({ model, input });
const plain = await client.embeddings.create({ model, input, encoding_format: "float" });
assert.equal(packed.data.length, 70);
for (const [index, row] of packed.data.entries()) {
  const dot = row.embedding.reduce((sum, part, at) => sum + part * plain.data[index].embedding[at], 0);
  assert(row.index === index && dot > 0.999, `${index}: ${dot}`);
}
assert(packed.usage.total_tokens > 200);

await assert.rejects(client.embeddings.create({ model: "nobody/nothing", input: "a" }), OpenAI.NotFoundError);
await assert.rejects(client.embeddings.create({ model, input: "" }), OpenAI.BadRequestError);
// A text that is cut within a character, as programs that count UTF-16 units do.
const half = await client.embeddings.create({ model, input: ["whole", "half \ud83d"] }).catch((error) => error);
assert(half instanceof OpenAI.BadRequestError && half.param === "input[1]", half);
const stranger = new OpenAI({ apiKey: "wrong", maxRetries: 0 });
await assert.rejects(stranger.embeddings.create({ model, input: "a" }), OpenAI.AuthenticationError);

const llama = models.find((name) => name !== model);
const ask = { model: llama, messages: [{ role: "user", content: "Say something." }], max_tokens: 20, seed: 7 };
const whole = await client.chat.completions.create(ask);
let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
assert(streamed.length > 0);
assert.equal(streamed, whole.choices[0].message.content);
console.log("openai for JavaScript: all good");
