//! Measures passes of an encoder over given tokens, for `benches/peers/encoder.py`, which runs other engines on the
//! same.
//!
//! `encoder_passes FOLDER PRECISION THREADS`: FOLDER has a BERT or DistilBERT in the layout of Hugging Face. A line
//! of standard input is a request, `{"passes": 3, "together": false, "sequences": [[101, 102]]}`. A line of standard
//! output is the response, `{"micros": [5, 4, 4], "first": [0.1]}`: the time of each pass, and the mean over the
//! first sequence's hidden states. With `together`, all threads share one pass; otherwise each thread has its own
//! passes.

#![allow(clippy::print_stdout, reason = "this is its output")]

use kernels::{
    Activation, Dense, Encoder, EncoderTables, EncoderWeights, Isa, LayerWeights, Matrix, Norm, Precision,
    Sequence, ThreadTeam, Workspace,
};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use std::{env, fs, io};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, precision, threads] = arguments.as_slice() else {
        return Err("expected FOLDER PRECISION THREADS".into());
    };
    let precision = match precision.as_str() {
        "bf16" => Precision::Bf16,
        "f32" => Precision::F32,
        "int8" => Precision::Int8,
        other => return Err(format!("precision {other}: expected bf16, f32 or int8").into()),
    };
    let config: Value = serde_json::from_slice(&fs::read(format!("{folder}/config.json"))?)?;
    let file = fs::read(format!("{folder}/model.safetensors"))?;
    let weights = read(&SafeTensors::deserialize(&file)?, &config)?;
    let encoder = Encoder::new(weights, precision, Isa::best())?;
    let mut bench = Bench::new(&encoder, threads.parse()?);
    println!("{}", json!({ "isa": encoder.isa().to_string() }));
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        println!("{}", bench.answer(&request)?);
        io::stdout().flush()?;
    }
    Ok(())
}

struct Bench<'a> {
    encoder: &'a Encoder<'a>,
    team: ThreadTeam,
    lanes: Vec<Lane>,
}

/// The data of one thread.
struct Lane {
    team: ThreadTeam,
    workspace: Workspace,
    mean: Vec<f32>,
}

impl<'a> Bench<'a> {
    fn new(encoder: &'a Encoder<'a>, threads: usize) -> Self {
        let lane = || Lane {
            team: ThreadTeam::alone(),
            workspace: Workspace::default(),
            mean: vec![0.0; encoder.hidden()],
        };
        Self { encoder, team: ThreadTeam::new(threads), lanes: (0..threads).map(|_| lane()).collect() }
    }

    fn answer(&mut self, request: &Value) -> Outcome<Value> {
        let sequences: Vec<Vec<u32>> = serde_json::from_value(request["sequences"].clone())?;
        let mut micros = Vec::new();
        for _ in 0..request["passes"].as_u64().unwrap_or(1) {
            let started = Instant::now();
            if request["together"].as_bool().unwrap_or_default() {
                self.together(&sequences)?;
            } else {
                self.apart(&sequences);
            }
            micros.push(started.elapsed().as_nanos() as f64 / 1000.0);
        }
        Ok(json!({ "micros": micros, "first": self.lanes[0].mean }))
    }

    /// All threads share one pass.
    fn together(&mut self, sequences: &[Vec<u32>]) -> Outcome<()> {
        let sequences: Vec<Sequence<'_>> = sequences.iter().map(|tokens| tokens.as_slice().into()).collect();
        let Lane { workspace, mean, .. } = &mut self.lanes[0];
        let hidden = self.encoder.forward(&mut self.team, workspace, &sequences, &AtomicBool::new(false))?;
        for index in (0..sequences.len()).rev() {
            hidden.mean(index, mean);
        }
        Ok(())
    }

    /// Each thread has its own passes, with about the same number of tokens in total.
    fn apart(&mut self, sequences: &[Vec<u32>]) {
        let mut order: Vec<&Vec<u32>> = sequences.iter().collect();
        order.sort_by_key(|tokens| std::cmp::Reverse(tokens.len()));
        let mut shares: Vec<(usize, Vec<Sequence<'_>>)> = vec![(0, Vec::new()); self.lanes.len()];
        for tokens in order {
            if let Some((load, share)) = shares.iter_mut().min_by_key(|(load, _)| *load) {
                *load += tokens.len();
                share.push(tokens.as_slice().into());
            }
        }
        let encoder = self.encoder;
        self.team.each(&mut self.lanes, &mut shares, |Lane { team, workspace, mean }, (_, share)| {
            let mut rest = share.as_slice();
            while !rest.is_empty() {
                let mut tokens = 0;
                let fits = |sequence: &&Sequence<'_>| {
                    tokens += sequence.tokens.len();
                    tokens <= PASS_TOKENS_MAX
                };
                let (pass, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
                let stop = AtomicBool::new(false);
                if let Ok(hidden) = encoder.forward(team, workspace, pass, &stop) {
                    for index in (0..pass.len()).rev() {
                        hidden.mean(index, mean);
                    }
                }
                rest = later;
            }
        });
    }
}

fn read<'a>(file: &SafeTensors<'a>, config: &Value) -> Outcome<EncoderWeights<'a, 'a>> {
    let distil = config["model_type"] == "distilbert";
    let matrix = |name: &str| -> Outcome<Matrix<'a>> {
        let tensor = file.tensor(name)?;
        let [rows, columns] = *tensor.shape() else { return Err(format!("{name} is no matrix").into()) };
        Ok(Matrix::f32(tensor.data(), rows, columns)?)
    };
    let vector = |name: &str| -> Outcome<Vec<f32>> {
        let (numbers, _) = file.tensor(name)?.data().as_chunks();
        Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
    };
    let dense = |name: String| -> Outcome<Dense<'a>> {
        Ok(Dense { weight: matrix(&format!("{name}.weight"))?, bias: vector(&format!("{name}.bias"))? })
    };
    let norm = |name: String| -> Outcome<Norm> {
        Ok(Norm { weight: vector(&format!("{name}.weight"))?, bias: vector(&format!("{name}.bias"))? })
    };
    let number = |names: [&str; 2]| config[names[usize::from(distil)]].as_u64().unwrap_or(0) as usize;
    let layers = (0..number(["num_hidden_layers", "n_layers"]))
        .map(|layer| {
            let name = |bert: &str, distilbert: &str| match distil {
                true => format!("transformer.layer.{layer}.{distilbert}"),
                false => format!("encoder.layer.{layer}.{bert}"),
            };
            Ok(LayerWeights {
                query: dense(name("attention.self.query", "attention.q_lin"))?,
                key: dense(name("attention.self.key", "attention.k_lin"))?,
                value: dense(name("attention.self.value", "attention.v_lin"))?,
                attention_output: dense(name("attention.output.dense", "attention.out_lin"))?,
                attention_output_norm: norm(name("attention.output.LayerNorm", "sa_layer_norm"))?,
                intermediate: dense(name("intermediate.dense", "ffn.lin1"))?,
                output: dense(name("output.dense", "ffn.lin2"))?,
                output_norm: norm(name("output.LayerNorm", "output_layer_norm"))?,
            })
        })
        .collect::<Outcome<_>>()?;
    let tables = EncoderTables {
        heads: number(["num_attention_heads", "n_heads"]),
        activation: Activation::Gelu,
        norm_epsilon: 1e-12,
        token_embeddings: matrix("embeddings.word_embeddings.weight")?.into(),
        positions: matrix("embeddings.position_embeddings.weight")?,
        padding: None,
        types: (!distil).then(|| matrix("embeddings.token_type_embeddings.weight")).transpose()?,
        relative_bias: None,
        norm: norm("embeddings.LayerNorm".to_owned())?,
        intermediate: number(["intermediate_size", "hidden_dim"]),
    };
    Ok(EncoderWeights { tables, layers })
}

/// Tokens in one pass of one thread, as in a worker process.
const PASS_TOKENS_MAX: usize = 384;
