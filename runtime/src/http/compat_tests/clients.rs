//! Requests of clients of several servers, the responses that they expect, and error messages about inputs.

use super::*;

#[tokio::test]
async fn errors_name_the_field_and_the_input_that_they_are_about() {
    let server = FakeNode::default().open().await;
    let mut many = vec!["a"; 100];
    many[70] = "";
    let long = format!("{LONG} a text");
    let mut long_ones = vec!["a"; 100];
    long_ones[70] = &long;
    let user = json!([{"role": "user", "content": "a"}]);
    let tool_calls = json!([{"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]}]);
    for (path, body, param, words) in [
        ("/v1/embeddings", json!({"input": many}), "input", "input 70 is empty"),
        ("/v1/embeddings", json!({"input": ""}), "input", "the input is empty"),
        ("/v1/embeddings", json!({"input": [[1], []]}), "input", "input 1 is empty"),
        (
            "/v1/embeddings",
            json!({"input": long_ones, "truncate": false}),
            "input",
            "input 70 (the first is 0)",
        ),
        ("/v1/embeddings", json!({"input": long, "truncate": "NONE"}), "input", "it has 11 tokens"),
        ("/v1/embeddings", json!({"input": vec![7; 11], "truncation": false}), "input", "it has 11 tokens"),
        ("/v1/embeddings", json!({"input": "a", "truncate": "START"}), "truncate", "at their end"),
        ("/v1/embeddings", json!({"input": "a", "late_chunking": true}), "late_chunking", "= true"),
        ("/v1/embeddings", json!({"input": "a", "dimensions": -1}), "dimensions", "dimensions is 0"),
        ("/v1/embeddings", json!({"input": ["a", 7]}), "input", "input: the input must be"),
        ("/v1/embeddings", json!({"model": "tiny"}), "input", "missing field `input`"),
        (
            "/v1/rerank",
            json!({"query": "q", "documents": long_ones, "truncate": false, "model": "cross"}),
            "documents",
            "input 70 (the first is 0)",
        ),
        ("/v1/rerank", json!({"query": "", "documents": ["a"]}), "query", "is empty"),
        (
            "/v2/rerank",
            json!({"query": "q", "documents": ["a"], "top_n": -1}),
            "top_n",
            "must not be negative",
        ),
        (
            "/v2/rerank",
            json!({"query": "q", "documents": ["a"], "max_tokens_per_doc": 9}),
            "max_tokens_per_doc",
            "= 9",
        ),
        ("/v1/chat/completions", json!({"messages": user, "guided_json": {}}), "guided_json", "= {}"),
        ("/v1/chat/completions", json!({"messages": user, "max_tokens": 0}), "max_tokens", "is 0"),
        ("/v1/chat/completions", json!({"messages": user, "stream": 1}), "stream", "expected a boolean"),
        (
            "/v1/chat/completions",
            json!({ "messages": tool_calls }),
            "messages[0].tool_calls",
            "not supported",
        ),
        ("/v1/completions", json!({"prompt": ["a", ""]}), "prompt", "input 1 is empty"),
        ("/v1/completions", json!({"prompt": "a", "logprobs": 0}), "logprobs", "= 0"),
    ] {
        let (status, _, answer) = server.post(path, &body).await;
        let shown: String = body.to_string().chars().take(100).collect();
        assert_eq!((status, &answer["error"]["param"]), (400, &json!(param)), "{path} {shown}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{path}: {message}");
    }
    let headers = format!("{AUTHORIZED}Content-Type: application/json\r\n");
    let half = br#"{"input": ["whole", "half \ud83d", "whole"]}"#;
    let (status, _, answer) = server.request("POST", "/v1/embeddings", &headers, half).await;
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("input[1]")));
    assert!(answer["error"]["message"].as_str().unwrap().contains("half of a surrogate pair"), "{answer}");
    let marked = "\u{feff}{\"input\": \"a\"}".as_bytes();
    assert_eq!(server.request("POST", "/v1/embeddings", &headers, marked).await.0, 200);
}

#[tokio::test]
async fn inputs_that_were_cut_are_told_by_every_route() {
    let server = FakeNode::default().open().await;
    let mut texts = vec!["a".to_owned(); 40];
    (texts[3], texts[20]) = (format!("{LONG} a text"), format!("{LONG} and longer"));
    let listed = json!([{"index": 3, "dropped_tokens": 1}, {"index": 20, "dropped_tokens": 5}]);
    let header = "x-truncated-inputs: 3;dropped=1, 20;dropped=5";
    for (path, body, in_body) in [
        ("/v1/embeddings", json!({ "input": texts }), true),
        ("/v1/rerank", json!({"query": "q", "documents": texts, "model": "cross"}), true),
        ("/v1/rerank", json!({"query": "q", "documents": texts}), true),
        ("/embed", json!({ "inputs": texts }), false),
        ("/", json!({ "inputs": texts }), false),
        ("/rerank", json!({"query": "q", "texts": texts, "model": "cross"}), false),
        ("/predict", json!({"inputs": texts.iter().map(|text| [text]).collect::<Vec<_>>()}), false),
    ] {
        let (status, head, answer) = server.post(path, &body).await;
        assert!(status == 200 && head.contains(header), "{path}: {status} {head}");
        assert!(head.contains("x-truncated-count: 2") && head.contains("x-truncated-tokens: 6"), "{head}");
        if in_body {
            assert_eq!(answer["truncated"], listed, "{path}");
        }
    }
    let (_, head, answer) = server.post("/v1/embeddings", &json!({"input": "a"})).await;
    assert!(!head.contains("truncated") && answer.get("truncated").is_none(), "{head} {answer}");
}

#[tokio::test]
async fn reranking_has_the_shapes_of_cohere_and_voyage() {
    let server = FakeNode::default().open().await;
    let asked = json!({"model": "cross", "query": "q", "documents": ["a", "bb", ""], "top_n": 2.0});
    let (status, _, body) = server.post("/v2/rerank", &asked).await;
    let found: Vec<&Value> = body["results"].as_array().unwrap().iter().map(|it| &it["index"]).collect();
    assert_eq!((status, found), (200, vec![&json!(1), &json!(0)]), "{body}");
    assert!(body["id"].as_str().unwrap().starts_with("rerank-") && body.get("data").is_none(), "{body}");
    let asked =
        json!({"model": "cross", "query": "q", "documents": ["a", "bb"], "top_k": 1, "truncation": true});
    let (_, _, body) = server.post("/v1/rerank", &asked).await;
    assert_eq!(body["data"], body["results"]);
    assert_eq!(body["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        server.post("/v2/embed", &json!({})).await.2["error"]["message"],
        "there is no POST /v2/embed"
    );
}

#[tokio::test]
async fn the_embedded_model_has_its_name_on_the_hub_as_well() {
    let server = FakeNode::default().open().await;
    let asked = json!({"model": "sentence-transformers/all-MiniLM-L6-v2", "input": "a"});
    assert_eq!(server.post("/v1/embeddings", &asked).await.0, 200);
}
