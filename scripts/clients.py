"""The checks of scripts/clients with the Python clients. The environment names the node's address and token."""

import math

import cohere
import huggingface_hub
import openai
from langchain_openai import OpenAIEmbeddings

MODEL = "all-MiniLM-L6-v2"
client = openai.OpenAI(max_retries=0)


def cosine(one, other):
    return sum(x * y for x, y in zip(one, other)) / math.sqrt(sum(x * x for x in one) * sum(y * y for y in other))


def refused(error, status, what):
    try:
        what()
    except error as found:
        assert found.status_code == status, found
        return found
    raise AssertionError(f"not refused with {status}")


assert MODEL in [model.id for model in client.models.list()]
assert client.models.retrieve(MODEL).id == MODEL

# The client requests base64 by default.
texts = ["a cat on a mat", "a kitten on a rug", "quarterly interest rates"] + [f"text {n}" for n in range(97)]
packed = client.embeddings.create(model=MODEL, input=texts)
plain = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
assert len(packed.data) == len(texts) and [row.index for row in packed.data] == list(range(len(texts)))
assert all(cosine(one.embedding, other.embedding) > 0.9999 for one, other in zip(packed.data, plain.data))
assert packed.usage.prompt_tokens == plain.usage.total_tokens > 300
near, far = (cosine(packed.data[0].embedding, packed.data[other].embedding) for other in (1, 2))
assert near > far + 0.2, (near, far)
assert len(client.embeddings.create(model=MODEL, input="one", dimensions=64).data[0].embedding) == 64
by_token = client.embeddings.create(model=MODEL, input=[[7592, 2088]]).data[0].embedding
by_text = client.embeddings.create(model=MODEL, input="hello world").data[0].embedding
assert cosine(by_token, by_text) > 0.9999

refused(openai.NotFoundError, 404, lambda: client.embeddings.create(model="nobody/nothing", input="a"))
refused(openai.BadRequestError, 400, lambda: client.embeddings.create(model=MODEL, input=""))
refused(openai.BadRequestError, 400, lambda: client.embeddings.create(model=MODEL, input=["a", ""]))
assert len(client.embeddings.create(model=MODEL, input=["a", " \n"]).data) == 2
assert client.embeddings.create(model=f"sentence-transformers/{MODEL}", input="a").data
long = client.embeddings.with_raw_response.create(model=MODEL, input=["a", "word " * 1000])
assert long.headers["x-truncated-inputs"] == "1;dropped=746", long.headers
assert long.parse().model_extra["truncated"] == [{"index": 1, "dropped_tokens": 746}]
refused(openai.BadRequestError, 400, lambda: client.embeddings.create(model=MODEL, input="word " * 1000, extra_body={"truncate": False}))
refused(openai.APIStatusError, 413, lambda: client.embeddings.create(model=MODEL, input="x" * 10_000_000))
stranger = openai.OpenAI(api_key="wrong", max_retries=0)
refused(openai.AuthenticationError, 401, lambda: stranger.models.list())

llama = next(model.id for model in client.models.list() if model.id != MODEL)
ask = {"model": llama, "messages": [{"role": "user", "content": "Say something."}], "max_tokens": 20, "temperature": 0}
whole = client.chat.completions.create(**ask)
text = whole.choices[0].message.content
assert text and whole.choices[0].finish_reason == "length" and whole.usage.completion_tokens == 20, whole
chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert streamed == text, (streamed, whole)
assert chunks[-1].usage == whole.usage, (chunks[-1], whole)
stopped = client.chat.completions.create(**ask, stop=text[5:8])
assert stopped.choices[0].message.content == text[:text.find(text[5:8])], (stopped, text)
assert stopped.choices[0].finish_reason == "stop", stopped
assert client.completions.create(model=llama, prompt="Say something.", max_tokens=20, temperature=0).choices[0].text == text
varied = {**ask, "temperature": 1.5, "seed": 7}
assert client.chat.completions.create(**varied).choices[0].message == client.chat.completions.create(**varied).choices[0].message
several = client.chat.completions.create(**ask, n=2).choices
assert [(one.index, one.message.content) for one in several] == [(0, text), (1, text)], several
differing = client.chat.completions.create(**{**ask, "temperature": 1.5}, n=4).choices
assert len({one.message.content for one in differing}) > 1, differing
prompts = client.completions.create(model=llama, prompt=["Say something.", "Say more."], max_tokens=20, temperature=0)
assert [one.index for one in prompts.choices] == [0, 1] and prompts.choices[0].text == text, prompts
refused(openai.BadRequestError, 400, lambda: client.chat.completions.create(**ask, n=65))
for field in ({"guided_json": {}}, {"ignore_eos": True}, {"chat_template_kwargs": {"enable_thinking": False}}):
    error = refused(openai.BadRequestError, 400, lambda: client.chat.completions.create(**ask, extra_body=field))
    assert error.param in field, error
error = refused(openai.NotFoundError, 404, lambda: client.chat.completions.create(**{**ask, "model": "none"}))
assert error.code == "model_not_found", error

# By default it sends tokens of OpenAI's models, so this option makes it send text.
chain = OpenAIEmbeddings(model=MODEL, check_embedding_ctx_length=False)
documents = chain.embed_documents(texts[:3])
assert cosine(documents[0], packed.data[0].embedding) > 0.9999
assert cosine(chain.embed_query(texts[1]), documents[1]) > 0.9999

root = str(client.base_url).removesuffix("/v1/")
documents = ["The cat sleeps on the sofa.", "Interest rates rose again.", "A kitten naps.", ""]
for kind in (cohere.Client, cohere.ClientV2):
    ranked = kind(api_key=client.api_key, base_url=root).rerank(model=MODEL, query="sleeping cats", documents=documents, top_n=2)
    assert {one.index for one in ranked.results} == {0, 2}, ranked
hub = huggingface_hub.InferenceClient(model=root, token=client.api_key)
vector = hub.feature_extraction("hello world", normalize=True, truncate=True)
assert vector.shape == (1, 384) and cosine(vector[0], by_text) > 0.9999, vector
print(
    f"openai {openai.__version__} for Python, LangChain's embeddings, cohere {cohere.__version__}, "
    f"huggingface_hub {huggingface_hub.__version__}: all good"
)
