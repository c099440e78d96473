//! The encoder compared with candle-transformers' BERT on the same weights, widened to f32.
//!
//! The golden vectors measure the error of 8-bit weights; this test shows that there is no other error.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use runtime::inference::{Backend, Model, Precision};
use safetensors::tensor::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

#[test]
fn the_encoder_computes_what_candle_transformers_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/all-MiniLM-L6-v2");
    let file = fs::read(folder.join("model.safetensors")).unwrap();
    let theirs = oracle(&file);
    let texts =
        ["hello world", "Ein Knoten fällt aus.", "a", "!", "one two three four five six seven eight nine"];
    let backends = [Backend::Candle, Backend::Kernels(Precision::F32)];
    for (backend, text) in backends.into_iter().flat_map(|backend| texts.map(|text| (backend, text))) {
        let ours = Model::load(&file, backend).unwrap();
        let ids = ours.tokenize(text).unwrap();
        let vector = ours.embed(&[&ids]).unwrap().remove(0);
        let expected = embed(&theirs, &ids);
        let furthest =
            vector.iter().zip(&expected).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        assert!(furthest < 1e-4, "{backend:?}: {text:?} is off by {furthest}");
    }
}

fn oracle(file: &[u8]) -> BertModel {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let config: Config = serde_json::from_slice(tensors.tensor("config.json").unwrap().data()).unwrap();
    let mut widened = HashMap::new();
    for name in tensors.names() {
        let tensor = tensors.tensor(name).unwrap();
        let shape = tensor.shape().to_vec();
        let values = if tensor.dtype() == Dtype::F32 {
            floats(tensor.data())
        } else if tensor.dtype() == Dtype::I8 {
            widen(&tensors, name)
        } else {
            continue;
        };
        widened.insert(name.to_owned(), Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    }
    BertModel::load(VarBuilder::from_tensors(widened, DType::F32, &Device::Cpu), &config).unwrap()
}

/// Returns an s8 matrix times the scales of its rows, with its outliers put back.
fn widen(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let matrix = tensors.tensor(name).unwrap();
    let columns = matrix.shape()[1];
    let scales = floats(tensors.tensor(&format!("{name}.scale")).unwrap().data());
    let signed = matrix.data().iter().map(|byte| f32::from(i8::from_ne_bytes([*byte])));
    let mut values: Vec<f32> = signed.enumerate().map(|(at, value)| value * scales[at / columns]).collect();
    if let Ok(outliers) = tensors.tensor(&format!("{name}.outliers")) {
        let places = tensors.tensor(&format!("{name}.places")).unwrap();
        let (places, _) = places.data().as_chunks::<4>();
        let places: Vec<usize> =
            places.iter().map(|place| usize::try_from(u32::from_le_bytes(*place)).unwrap()).collect();
        for (value, place) in floats(outliers.data()).into_iter().zip(places.chunks_exact(2)) {
            values[place[0] * columns + place[1]] = value;
        }
    }
    values
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Returns the mean over the tokens, scaled to unit length.
fn embed(model: &BertModel, ids: &[u32]) -> Vec<f32> {
    let ids = Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let hidden = model.forward(&ids, &ids.zeros_like().unwrap(), None).unwrap();
    let mean = hidden.squeeze(0).unwrap().mean(0).unwrap().to_vec1::<f32>().unwrap();
    let length = mean.iter().map(|value| value * value).sum::<f32>().sqrt();
    mean.into_iter().map(|value| value / length).collect()
}
