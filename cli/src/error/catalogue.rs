//! Every name that an error may have, what it means, and what to do: the source of `errors` and of `errors.md`.

/// One kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its stable name.
    pub(crate) id: &'static str,
    /// What it means.
    pub(crate) what: &'static str,
    /// What to do about it.
    pub(crate) todo: &'static str,
}

/// All of them, by name.
pub(crate) const ENTRIES: &[Entry] = &[
    Entry {
        id: "answer_unreadable",
        what: "The node gave an answer that this program cannot read.",
        todo: "Use the program that the node was started with: `node restart` after an update.",
    },
    Entry {
        id: "attempts_differ",
        what: "A model wrote another text on its second try, after the first part had been sent already.",
        todo: "Send the request again.",
    },
    Entry {
        id: "body_malformed",
        what: "What was sent to the API is not a task.",
        todo: "Send JSON such as `{\"type\": \"embedding\", \"input\": \"some text\"}`.",
    },
    Entry {
        id: "body_timeout",
        what: "A request to the API did not arrive whole in its time.",
        todo: "Send it again; look after the connection.",
    },
    Entry {
        id: "body_too_large",
        what: "A request to the API is longer than any task may be.",
        todo: "Send less at a time.",
    },
    Entry {
        id: "cache_unusable",
        what: "The cache of models cannot be used.",
        todo: "Check who may use it (`HF_HOME`, `HF_HUB_CACHE`), and its disk.",
    },
    Entry {
        id: "cancelled",
        what: "The fetching of a model was cancelled.",
        todo: "`model pull` goes on with what has arrived.",
    },
    Entry {
        id: "clock_unset",
        what: "The clock of the machine shows no date from 1970 to 9999.",
        todo: "Set it; a running node then continues by itself.",
    },
    Entry {
        id: "config_invalid",
        what: "Values of the configuration are outside what is allowed, or keys are unknown; each is listed with the range, a value that would do, and who gave it: `KEY_exceeds_limit`, `KEY_below_minimum`, `KEY_invalid`, `malformed_value`, `unknown_key`, `storage_path_unusable`.",
        todo: "Change what is listed; `node config` shows what applies.",
    },
    Entry {
        id: "config_malformed",
        what: "The configuration file is neither JSON nor TOML.",
        todo: "Put the place right that the message names, or move the file away to start with the defaults.",
    },
    Entry {
        id: "config_too_large",
        what: "The configuration file has more than 1,000,000 bytes and was not read.",
        todo: "Name the right file with `--config`.",
    },
    Entry {
        id: "config_unreadable",
        what: "The configuration file cannot be read, or is none.",
        todo: "Check the path and who may read it.",
    },
    Entry {
        id: "content_type_unsupported",
        what: "The API takes JSON only.",
        todo: "Send `Content-Type: application/json`.",
    },
    Entry {
        id: "crypto_timeout",
        what: "The node's key took more than 100 ms to sign.",
        todo: "The machine is too busy: give the node less company.",
    },
    Entry {
        id: "data_lost",
        what: "The node had tasks and results, and its data file is missing or empty.",
        todo: "Mount its disk or restore a backup; `node start --accept-data-loss` starts without the old tasks and results.",
    },
    Entry {
        id: "data_missing",
        what: "There is no data file to check.",
        todo: "Name the node's home with `--home`.",
    },
    Entry {
        id: "disk_full",
        what: "The disk has less room left than a node needs to start.",
        todo: "Make room on the disk that the message names.",
    },
    Entry {
        id: "error_unknown",
        what: "There is no error of this name.",
        todo: "`p2p-ai-agents errors` lists all.",
    },
    Entry {
        id: "fetch_interrupted",
        what: "The node stopped before a file was here; what has come is kept.",
        todo: "Run the same command again: it goes on with it.",
    },
    Entry {
        id: "file_exists",
        what: "There is something else at the path where a file should go; it was not changed.",
        todo: "Name another place, or move away what is there.",
    },
    Entry {
        id: "file_forged",
        what: "What the reachable nodes have under this hash is another file; what they sent was thrown away.",
        todo: "Check the hash or list you were given; `doctor` names the nodes.",
    },
    Entry {
        id: "file_not_found",
        what: "No node that can be reached has the file.",
        todo: "Have somebody share it with `model share`, and check with `node peers` that you are linked.",
    },
    Entry {
        id: "file_sources_lost",
        what: "The nodes that have the file cannot be reached any more; what has arrived is kept.",
        todo: "Run the command again when they are back: it goes on where it ended.",
    },
    Entry {
        id: "file_too_large",
        what: "The file is larger than nodes give each other.",
        todo: "Carry it over another way.",
    },
    Entry {
        id: "hash_missing",
        what: "A file that is to be fetched was not named by its hash.",
        todo: "Send `blake3` or `sha256`.",
    },
    Entry {
        id: "home_unusable",
        what: "The node's directory or a file of it cannot be used.",
        todo: "Check who may use it and the space on its disk, or name another with `--home`.",
    },
    Entry { id: "host_missing", what: "A request to the API names no host.", todo: "Send a `Host` header." },
    Entry {
        id: "host_not_allowed",
        what: "The API was addressed by a name that is not its own.",
        todo: "Use `http://127.0.0.1:PORT`.",
    },
    Entry { id: "hub_failed", what: "The hub of models is in trouble.", todo: "Try again later." },
    Entry {
        id: "hub_malformed",
        what: "The hub gave an answer that cannot be used.",
        todo: "Check `HF_ENDPOINT`; try another revision of the model.",
    },
    Entry {
        id: "hub_unreachable",
        what: "The hub of models cannot be reached.",
        todo: "Check the network; `HF_ENDPOINT` names another hub, and a folder or file works without any.",
    },
    Entry {
        id: "identity_damaged",
        what: "The file with the node's key is not what was written.",
        todo: "Restore it from a backup, or move it away to go on as a new node.",
    },
    Entry {
        id: "identity_mode_too_wide",
        what: "Others may read the node's key.",
        todo: "`chmod 600` the file that the message names.",
    },
    Entry {
        id: "identity_unusable",
        what: "The file with the node's key cannot be read or made.",
        todo: "Check who may use it and the space on its disk.",
    },
    Entry {
        id: "input_empty",
        what: "A task needs a text; white space is one. In a list, the message says which one is empty.",
        todo: "Give one with `--input`, or `--input -` for standard input; leave empty ones out of a list.",
    },
    Entry {
        id: "input_exceeds_max_length",
        what: "The input is longer than a task may have.",
        todo: "Split it into several tasks.",
    },
    Entry {
        id: "input_not_utf8",
        what: "The input is not UTF-8 text.",
        todo: "Convert it: `iconv -t UTF-8`.",
    },
    Entry {
        id: "input_rejected",
        what: "The model refused the input of a task; the message says why, and which of several it was.",
        todo: "Send it what it takes. A text that is too long is cut unless the task says `truncate: false`.",
    },
    Entry {
        id: "input_unreadable",
        what: "A file of tasks or results cannot be used.",
        todo: "Check the path and who may use it.",
    },
    Entry {
        id: "inputs_out_of_range",
        what: "A task has no input, or more than one task may.",
        todo: "Spread the inputs over several tasks.",
    },
    Entry {
        id: "insufficient_disk_space",
        what: "The model does not fit on the disk; the message says how many bytes are needed.",
        todo: "Make room, for example with `model rm`, or put the cache elsewhere with `HF_HOME`.",
    },
    Entry {
        id: "internal_error",
        what: "The node has a fault.",
        todo: "Look for `logs/crash-….txt` and open an issue.",
    },
    Entry {
        id: "invalid_value",
        what: "A value of an OpenAI request is not allowed.",
        todo: "Use what the message names.",
    },
    Entry {
        id: "journal_cut",
        what: "A recording ends in the middle: its process was killed, or the file was cut later.",
        todo: "All before can be used.",
    },
    Entry {
        id: "journal_damaged",
        what: "A recording was changed after it was written.",
        todo: "With `--until` a time before it, all up to there can be replayed.",
    },
    Entry {
        id: "journal_of_another_version",
        what: "Another version of the program wrote this recording.",
        todo: "Replay it with that version.",
    },
    Entry {
        id: "journal_unreadable",
        what: "The file cannot be read, or is no recording.",
        todo: "Name one that `node start --record` or `sim run --record` wrote.",
    },
    Entry { id: "label_length_out_of_range", what: "A label is empty or too long.", todo: "Shorten it." },
    Entry {
        id: "labels_alike",
        what: "Two labels of a classification are the same.",
        todo: "Name each once.",
    },
    Entry {
        id: "labels_out_of_range",
        what: "A classification has too few or too many labels.",
        todo: "Name at least two, or none where the model has its own.",
    },
    Entry {
        id: "length_ambiguous",
        what: "A request gives its length twice: a `Content-Length` beside `Transfer-Encoding: chunked`.",
        todo: "Send one of the two.",
    },
    Entry {
        id: "limit_out_of_range",
        what: "A list was asked for with a length that is not allowed.",
        todo: "Ask for 1 to 1000 at a time.",
    },
    Entry {
        id: "line_malformed",
        what: "A line of a file of tasks is not a task.",
        todo: "A line looks like `{\"type\": \"embedding\", \"input\": \"some text\"}`.",
    },
    Entry {
        id: "log_missing",
        what: "There is no log, as no node has run here.",
        todo: "`node start`, or name its home with `--home`.",
    },
    Entry { id: "log_unreadable", what: "The log cannot be read.", todo: "Check who may read it." },
    Entry {
        id: "manifest_unusable",
        what: "The file is not a model's list of files.",
        todo: "Make one where the model is: `model share FOLDER >model.json`.",
    },
    Entry {
        id: "max_tokens_out_of_range",
        what: "The most tokens to write are outside what is allowed.",
        todo: "Use the range that the message names.",
    },
    Entry {
        id: "memory_threshold_exceeded",
        what: "The node and its models hold more than 80 % of `max_memory_mb` (warning) or 85 % (failure).",
        todo: "Raise `max_memory_mb`, or run fewer models.",
    },
    Entry {
        id: "messages_out_of_range",
        what: "A conversation has no messages, or too many.",
        todo: "Send its last part.",
    },
    Entry {
        id: "method_not_allowed",
        what: "The API has this path, and does other things there.",
        todo: "See the methods that the README lists.",
    },
    Entry {
        id: "model_changed",
        what: "The model was replaced by another one of the same name while a request ran; one request is computed by one model.",
        todo: "Send the request again.",
    },
    Entry {
        id: "model_embedded",
        what: "The model is part of the program, so there is nothing to fetch or remove.",
        todo: "Use it by its name.",
    },
    Entry {
        id: "model_failed",
        what: "The model of a task could not be loaded or run.",
        todo: "`model list` shows how the models stand, `node logs` why.",
    },
    Entry {
        id: "model_forbidden",
        what: "The hub does not give the model to everybody.",
        todo: "Get access on its page, and set `HF_TOKEN`.",
    },
    Entry {
        id: "model_incomplete",
        what: "Files of the model are missing.",
        todo: "`model pull` fetches the rest.",
    },
    Entry {
        id: "model_is_local",
        what: "The model is a place on this machine, not one of a hub.",
        todo: "Use it by its path; what is yours is yours to remove.",
    },
    Entry {
        id: "model_malformed",
        what: "That is no name of a model.",
        todo: "Names look like `owner/name`, `owner/name@revision`, `owner/name:Q4_0` or `./folder`.",
    },
    Entry {
        id: "model_not_fetched",
        what: "The model is not on this machine.",
        todo: "`model pull` fetches it, `model list` shows what there is.",
    },
    Entry {
        id: "model_not_found",
        what: "The hub has no such model.",
        todo: "Check the name, and the revision after the `@`.",
    },
    Entry {
        id: "model_not_pulled",
        what: "The model that a task names was to be fetched, and could not be.",
        todo: "The message says why; a minute later the next task makes the node try again, `model pull` does at once.",
    },
    Entry {
        id: "model_not_ready",
        what: "The files of the model are still being read, to tell which model it is.",
        todo: "Try again a little later.",
    },
    Entry {
        id: "model_pulling",
        what: "The model is being fetched.",
        todo: "Try again when `model list` shows it.",
    },
    Entry {
        id: "model_too_large",
        what: "The model is larger than any that can run here.",
        todo: "Choose a smaller one, or a GGUF file with fewer bits.",
    },
    Entry {
        id: "model_unknown",
        what: "No node of the network has a model of this name for this type.",
        todo: "`node status` lists the models of a node.",
    },
    Entry {
        id: "model_unsupported",
        what: "The model has a form that cannot run here; the message says which.",
        todo: "Choose safetensors weights with a `tokenizer.json`, or one GGUF file, `owner/name:Q4_0`.",
    },
    Entry {
        id: "model_unusable",
        what: "This node cannot run the model; the message says why.",
        todo: "`model list` shows how the models stand.",
    },
    Entry {
        id: "network_unusable",
        what: "The node cannot take connections on any address.",
        todo: "Check the network interfaces of the machine.",
    },
    Entry {
        id: "node_already_running",
        what: "A node runs in this home.",
        todo: "`node stop` it, or start another in another home with `--home`.",
    },
    Entry { id: "node_ambiguous", what: "More than one node begins with this id.", todo: "Give more of it." },
    Entry {
        id: "node_in_foreground",
        what: "The node was started by another program, which must restart it.",
        todo: "`systemctl restart p2p-ai-agents`, or what started it.",
    },
    Entry {
        id: "node_not_answering",
        what: "The node's process is there and does not answer: not within 2 s to a connection, 5 s to `node ready`, 20 s to what only reads, and 75 s to all else.",
        todo: "Look into `node logs`; `node stop` ends it.",
    },
    Entry { id: "node_not_ready", what: "The node is starting or stopping.", todo: "Try again in a moment." },
    Entry {
        id: "node_not_running",
        what: "No node runs in this home.",
        todo: "`node start`, or name its home with `--home`; `node list` shows those that run.",
    },
    Entry {
        id: "node_not_stopping",
        what: "The node did not stop in time.",
        todo: "`kill -9`, which loses nothing that was acknowledged.",
    },
    Entry {
        id: "node_shutting_down",
        what: "The node is on its way out and takes nothing new.",
        todo: "Ask another node, or this one after its next start.",
    },
    Entry {
        id: "node_start_timeout",
        what: "The node was not ACTIVE in 30 s and was stopped.",
        todo: "Look into `node logs`; `node start --foreground` says more.",
    },
    Entry {
        id: "node_unknown",
        what: "No node of this id can be reached.",
        todo: "`node peers` shows the nodes around this one.",
    },
    Entry {
        id: "offline",
        what: "Nothing may be fetched in offline mode.",
        todo: "Leave out `--offline` and `HF_HUB_OFFLINE`, or copy the model into the cache.",
    },
    Entry {
        id: "origin_not_allowed",
        what: "A page of another origin asked the API.",
        todo: "Serve the page from the API's own address.",
    },
    Entry {
        id: "output_failed",
        what: "What was to be written could not be.",
        todo: "Check the space on the disk and who may write there.",
    },
    Entry {
        id: "output_is_input",
        what: "The results would overwrite the tasks.",
        todo: "Name another `--output`.",
    },
    Entry {
        id: "output_not_results",
        what: "The file that was to take results holds something else; nothing of it was changed.",
        todo: "Name another `--output`, or move this file away.",
    },
    Entry {
        id: "output_of_another_file",
        what: "The file of results belongs to other tasks.",
        todo: "Name another `--output`, or move this one away.",
    },
    Entry {
        id: "path_not_absolute",
        what: "The node was given a path that does not begin at the root.",
        todo: "Send the whole path.",
    },
    Entry {
        id: "path_unusable",
        what: "A file or folder cannot be read.",
        todo: "Check the path and who may use it.",
    },
    Entry {
        id: "poison",
        what: "Whatever ran a task died of it, three times.",
        todo: "Look at its input; `node logs` says what died.",
    },
    Entry {
        id: "port_in_use",
        what: "Another program has the port.",
        todo: "Choose another with `--port` or `--api-port`.",
    },
    Entry {
        id: "process_ended",
        what: "The node's process ended before it was ACTIVE.",
        todo: "`node start --foreground` says more.",
    },
    Entry {
        id: "process_not_started",
        what: "The system did not start the node's process.",
        todo: "Check its limits: `ulimit -a`.",
    },
    Entry {
        id: "pulls_full",
        what: "Too many models are being fetched.",
        todo: "Try again when one is here.",
    },
    Entry {
        id: "query_malformed",
        what: "The API does not understand the query of a request.",
        todo: "See the parameters that the README lists.",
    },
    Entry {
        id: "queue_full",
        what: "256 tasks or 64 MiB wait already.",
        todo: "Try again when the answer says; `task submit --file` does so by itself.",
    },
    Entry {
        id: "record_damaged",
        what: "What is stored of a task is not what was written, so it is not given out.",
        todo: "Submit the task again, and look after the disk; `doctor` and `store check` say what else is damaged.",
    },
    Entry {
        id: "recording_unusable",
        what: "The recording cannot be begun.",
        todo: "Name another file with `--record`.",
    },
    Entry {
        id: "records_damaged",
        what: "Stored records were found damaged in the last 24 hours (warning).",
        todo: "Look after the disk; `doctor` names them, `store check` checks all.",
    },
    Entry {
        id: "registry_unusable",
        what: "It cannot be told which nodes of this user run.",
        todo: "Check who may use `$XDG_RUNTIME_DIR/p2p-ai-agents`.",
    },
    Entry {
        id: "replay_differs",
        what: "The node of this program does something else than the recorded one did.",
        todo: "`--until` the time that the message names, with `--state`, shows it just before.",
    },
    Entry {
        id: "request_timeout",
        what: "The node took too long to answer.",
        todo: "Look into `node logs`.",
    },
    Entry {
        id: "route_unknown",
        what: "The API has no such path.",
        todo: "See the paths that the README lists.",
    },
    Entry {
        id: "scenario_invalid",
        what: "A scenario makes no sense at the place that is shown.",
        todo: "`sim new NAME` writes one with everything explained.",
    },
    Entry {
        id: "scenario_name_malformed",
        what: "That is no name for a scenario.",
        todo: "Use at most 64 lower-case letters, digits and underscores.",
    },
    Entry {
        id: "scenario_unreadable",
        what: "The file of a scenario cannot be read.",
        todo: "`sim list` shows those there are.",
    },
    Entry {
        id: "scenarios_unreadable",
        what: "A folder of scenarios cannot be read.",
        todo: "Name another with `--dir`.",
    },
    Entry {
        id: "seed_passes",
        what: "The seed passes, so there is no failure to shrink.",
        todo: "`sim run FILE --seeds 0..1000` finds a seed that fails.",
    },
    Entry {
        id: "seed_too_large",
        what: "The seed is too large to stand in a file.",
        todo: "Use one below 9,223,372,036,854,775,808.",
    },
    Entry {
        id: "simulator_differs",
        what: "What was made smaller does not fail again.",
        todo: "Open an issue, with the file and the seed: the simulator should be deterministic.",
    },
    Entry {
        id: "start_unknown",
        what: "It is not known how the node was started.",
        todo: "`node stop` it, and start it as you want it.",
    },
    Entry {
        id: "stop_length_out_of_range",
        what: "A text to stop at is empty or too long.",
        todo: "Shorten it.",
    },
    Entry { id: "stops_out_of_range", what: "There are too many texts to stop at.", todo: "Leave some out." },
    Entry {
        id: "storage_failed",
        what: "The disk did not take a task or result; nothing was accepted.",
        todo: "Make room on the disk; the node tries again by itself.",
    },
    Entry {
        id: "storage_timeout",
        what: "The disk did not answer in 500 ms.",
        todo: "The disk is slow or hangs.",
    },
    Entry {
        id: "storage_unusable",
        what: "Stored tasks and results cannot be opened.",
        todo: "The message says why; `store check` says more. If the file is damaged, `node start --accept-data-loss` keeps it under another name and starts without its tasks and results.",
    },
    Entry {
        id: "system_failed",
        what: "The operating system refused something that every program needs.",
        todo: "Check its limits: `ulimit -a`.",
    },
    Entry {
        id: "task_cancelled",
        what: "Somebody cancelled the task of a request.",
        todo: "Send the request again.",
    },
    Entry { id: "task_finished", what: "The task has its outcome already.", todo: "`task result` shows it." },
    Entry {
        id: "task_malformed",
        what: "The options of a task do not belong together.",
        todo: "`task submit --help` says which option is for what.",
    },
    Entry {
        id: "task_not_finished",
        what: "The task has no result yet.",
        todo: "`task watch` waits for it.",
    },
    Entry {
        id: "task_not_found",
        what: "This node has no such task, or no longer: results are kept for 24 hours.",
        todo: "`task list` shows the tasks; ask the node that took it.",
    },
    Entry {
        id: "task_timeout",
        what: "The task of a request did not end in its time.",
        todo: "Send less, or look with `node status` at how much waits.",
    },
    Entry {
        id: "task_type_missing",
        what: "It was not said what to do with the input.",
        todo: "Add `--type embedding`, `classification` or `generation`.",
    },
    Entry {
        id: "task_type_unsupported",
        what: "No node of the network has a model for this type of task.",
        todo: "`node status` lists the models of a node.",
    },
    Entry {
        id: "temperature_out_of_range",
        what: "The temperature is outside what is allowed.",
        todo: "Use the range that the message names.",
    },
    Entry {
        id: "texts_out_of_range",
        what: "There is nothing to compare with the query, or too much.",
        todo: "Send as many texts as the message allows.",
    },
    Entry {
        id: "timeline_form_unknown",
        what: "A picture of a run is either `.html` or `.json`.",
        todo: "`--timeline run.html` is for a browser, `--timeline run.json` for ui.perfetto.dev.",
    },
    Entry {
        id: "timeout_out_of_range",
        what: "A task may take 1 to 3600 seconds.",
        todo: "Give another `--timeout`.",
    },
    Entry {
        id: "token_missing",
        what: "The API wants the node's token.",
        todo: "Send `Authorization: Bearer` and the content of `run/token`.",
    },
    Entry {
        id: "token_unreadable",
        what: "The node's token cannot be read.",
        todo: "Run the command as the user whose node it is.",
    },
    Entry {
        id: "token_wrong",
        what: "That is not this node's token.",
        todo: "It changes at each start: read `run/token` again.",
    },
    Entry {
        id: "tokens_out_of_range",
        what: "An input of tokens is empty or too long.",
        todo: "Shorten it.",
    },
    Entry {
        id: "too_many_fetches",
        what: "Too many files are fetched at the same time, or the same one with another size.",
        todo: "Try again when one is done; `GET /api/v1/fetches` lists them.",
    },
    Entry {
        id: "too_many_requests",
        what: "The node computes as many requests with the token as it can at a time.",
        todo: "Send it again when others have ended; `Retry-After` says when to try.",
    },
    Entry {
        id: "too_many_streams",
        what: "The node streams as many answers as it can at a time.",
        todo: "End streams that nobody reads, or ask for whole answers.",
    },
    Entry {
        id: "too_many_waiting",
        what: "1024 requests wait for tasks already.",
        todo: "Ask for the status instead of waiting.",
    },
    Entry {
        id: "top_p_out_of_range",
        what: "The share of the likeliest tokens is outside what is allowed.",
        todo: "Use the range that the message names.",
    },
    Entry {
        id: "transfer_broken",
        what: "The transfer of a model broke again and again; what has arrived is kept.",
        todo: "Run it again: only the rest is fetched.",
    },
    Entry {
        id: "unshrinkable",
        what: "The failure has no part that could be left out.",
        todo: "Look at the run itself: `sim run FILE --seed N --timeline run.html`.",
    },
    Entry {
        id: "validation",
        what: "A text-embeddings request is not allowed.",
        todo: "Use what the message names.",
    },
    Entry {
        id: "wait_out_of_range",
        what: "One request waits for a minute at most.",
        todo: "Ask again until the task has ended.",
    },
    Entry {
        id: "wrong_hash",
        what: "A file of a model arrived damaged, and was removed.",
        todo: "Run it again to fetch it anew.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// Shows every source of a folder, without the tests, which make errors up.
    fn sources(folder: &Path, see: &mut impl FnMut(&str)) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                sources(&path, see);
            } else if name.ends_with(".rs") && !["tests.rs", "story.rs"].contains(&name) {
                let text = fs::read_to_string(&path).unwrap();
                see(text.split("#[cfg(test)]").next().unwrap_or_default());
            }
        }
    }

    /// Returns the quoted names in a piece of source.
    fn names(text: &str) -> impl Iterator<Item = String> {
        let is_name = |text: &&str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        text.split('"').skip(1).step_by(2).filter(is_name).map(str::to_owned)
    }

    #[test]
    fn every_name_that_the_program_gives_is_explained() {
        let mut found = BTreeSet::new();
        let mut see = |text: &str| {
            for start in [".id(\"", "internal(\""] {
                found.extend(
                    text.split(start).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned),
                );
            }
            for rest in text.split("ApiError::new(").skip(1) {
                found.extend(names(rest.split(&['(', ')', ';']).next().unwrap_or_default()));
            }
            for start in ["fn code(", "fn id("] {
                for rest in text.split(start).skip(1) {
                    found.extend(names(rest.split("\n    }\n").next().unwrap_or_default()));
                }
            }
        };
        for folder in ["src", "../engine/src", "../runtime/src"] {
            sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut see);
        }
        for name in ["file_exists", "model_embedded", "poison", "pulls_full", "queue_full", "replay_differs"]
        {
            assert!(found.contains(name), "{name} is not seen: {found:?}");
        }
        let unknown: Vec<&String> =
            found.iter().filter(|name| !ENTRIES.iter().any(|entry| entry.id == **name)).collect();
        assert!(unknown.is_empty(), "{unknown:?} are not in the catalogue");
    }

    #[test]
    fn names_are_in_order() {
        assert!(ENTRIES.windows(2).all(|pair| pair[0].id < pair[1].id));
    }
}
