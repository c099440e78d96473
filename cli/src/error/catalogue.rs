//! Every error id, what it means and what to do: the source of `errors` and of `docs/errors.md`.

/// An error of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The stable id.
    pub(crate) id: &'static str,
    /// The meaning: what happened.
    pub(crate) what: &'static str,
    /// The remedy: what to do.
    pub(crate) todo: &'static str,
}

/// All errors, sorted by id.
pub(crate) const ENTRIES: &[Entry] = &[
    Entry {
        id: "answer_unreadable",
        what: "This program cannot read the answer of the node.",
        todo: "Use the same program version as the node: run `node restart` after an update.",
    },
    Entry {
        id: "arguments_invalid",
        what: "The command does not take these arguments.",
        todo: "Add `--help` to the command to see its options.",
    },
    Entry {
        id: "attempts_differ",
        what: "A retry of a streamed generation gave a different text after the first part was sent.",
        todo: "Send the request again.",
    },
    Entry {
        id: "body_malformed",
        what: "The request body is not a valid task.",
        todo: "Send JSON such as `{\"type\": \"embedding\", \"input\": \"some text\"}`.",
    },
    Entry {
        id: "body_timeout",
        what: "The request body did not arrive in time.",
        todo: "Check the connection and send the request again.",
    },
    Entry {
        id: "body_too_large",
        what: "The request body exceeds the maximum size.",
        todo: "Send less per request.",
    },
    Entry {
        id: "cache_unusable",
        what: "The model cache cannot be used.",
        todo: "Check the permissions and the disk of the cache (`HF_HOME`, `HF_HUB_CACHE`).",
    },
    Entry {
        id: "cancelled",
        what: "The fetch of a model was cancelled.",
        todo: "Run `model pull` to resume it.",
    },
    Entry {
        id: "clock_unset",
        what: "The system clock shows no date between 1970 and 9999.",
        todo: "Set the clock; a running node then continues by itself.",
    },
    Entry { id: "command_unknown", what: "No command has this name.", todo: "`help` lists the commands." },
    Entry {
        id: "component_invalid",
        what: "The name of a log component has other characters than letters, digits, `-` and `_`, or too many.",
        todo: "Name a component as the log does: `node logs` shows them.",
    },
    Entry {
        id: "config_invalid",
        what: "The configuration has values outside their range, or unknown keys. Each is listed with its range, a valid value and its source: `KEY_exceeds_limit`, `KEY_below_minimum`, `KEY_invalid`, `malformed_value`, `unknown_key`, `storage_path_unusable`.",
        todo: "Correct the listed values; `node config` shows the effective settings.",
    },
    Entry {
        id: "config_malformed",
        what: "The configuration file is neither valid JSON nor valid TOML.",
        todo: "Correct the place that the message names, or move the file away to start with the defaults.",
    },
    Entry {
        id: "config_too_large",
        what: "The configuration file exceeds 1,000,000 bytes and was not read.",
        todo: "Name the right file with `--config`.",
    },
    Entry {
        id: "config_unreadable",
        what: "The configuration file cannot be read, or is not a regular file.",
        todo: "Check its path and permissions.",
    },
    Entry {
        id: "content_type_unsupported",
        what: "The API accepts only JSON.",
        todo: "Send `Content-Type: application/json`.",
    },
    Entry {
        id: "crypto_timeout",
        what: "Signing with the key of the node took more than 100 ms.",
        todo: "Reduce the load on the machine.",
    },
    Entry {
        id: "data_lost",
        what: "The node had tasks and results, but its data file is missing or empty.",
        todo: "Mount its disk or restore a backup; `node start --accept-data-loss` starts without the old tasks and results.",
    },
    Entry {
        id: "data_missing",
        what: "There is no data file to check.",
        todo: "Name the home of the node with `--home`.",
    },
    Entry {
        id: "demo_fault_invalid",
        what: "The fault lacks a setting, has one that it does not take, or names a node that does not run.",
        todo: "Run `help demo` to see the faults and their settings.",
    },
    Entry {
        id: "demo_fault_unsupported",
        what: "Real nodes do not take this fault.",
        todo: "Use simulated nodes: `demo start` without `--real`.",
    },
    Entry {
        id: "demo_node_not_started",
        what: "A real node of the demo did not start.",
        todo: "Read `demo/nodes/NAME/logs/node.log` in the home, then run `demo heal`.",
    },
    Entry {
        id: "demo_node_stopped",
        what: "The node that was to be killed does not run.",
        todo: "Run `demo stats` to see which nodes run, or `demo heal` to start all.",
    },
    Entry {
        id: "demo_nodes_stopped",
        what: "All nodes of the demo are stopped, so none can answer.",
        todo: "Run `demo heal`.",
    },
    Entry { id: "demo_not_ready", what: "The demo is starting or stopping.", todo: "Try again in a moment." },
    Entry {
        id: "demo_not_recorded",
        what: "What happened in this demo cannot be repeated by the simulator.",
        todo: "Record a demo with simulated nodes.",
    },
    Entry { id: "demo_not_running", what: "No demo is running in this home.", todo: "Run `demo start`." },
    Entry {
        id: "demo_not_stopping",
        what: "The process of the demo did not end in time.",
        todo: "Read `demo/logs/node.log` in the home; end the process that `demo/run/lock` names.",
    },
    Entry {
        id: "demo_partition_invalid",
        what: "A partition needs at least two groups that share no node.",
        todo: "Name the groups: `demo partition amber birch,cedar`.",
    },
    Entry {
        id: "demo_running",
        what: "A demo is running already in this home.",
        todo: "Look at it with `demo stats`, or end it with `demo stop`.",
    },
    Entry {
        id: "demo_start_timeout",
        what: "The demo did not start in time.",
        todo: "Read `demo/logs/node.log` in the home.",
    },
    Entry {
        id: "demo_tasks_too_many",
        what: "One request to a demo takes 1 to 1,000,000 tasks.",
        todo: "Give a number within the range.",
    },
    Entry {
        id: "demo_too_many_nodes",
        what: "The nodes need more memory than this machine has left.",
        todo: "Start as many nodes as the message names.",
    },
    Entry {
        id: "disk_full",
        what: "The disk has less free space than a node needs to start.",
        todo: "Free space on the disk that the message names.",
    },
    Entry {
        id: "duration_out_of_range",
        what: "A duration is outside its range, which the message gives.",
        todo: "Give a duration within the range.",
    },
    Entry {
        id: "editor_failed",
        what: "The editor ended with an error.",
        todo: "Set `VISUAL` or `EDITOR` to an editor of this machine.",
    },
    Entry {
        id: "error_unknown",
        what: "No error has this id.",
        todo: "Run `p2p-ai-agents errors` to list all errors.",
    },
    Entry {
        id: "fetch_interrupted",
        what: "The node stopped before the file was complete; the received part is kept.",
        todo: "Run the same command again to resume.",
    },
    Entry {
        id: "file_exists",
        what: "The target path holds another file, which was not changed.",
        todo: "Name another path, or move the existing file away.",
    },
    Entry {
        id: "file_forged",
        what: "The reachable nodes sent data that does not match the hash; it was discarded.",
        todo: "Check the hash or the manifest; `doctor` names the nodes.",
    },
    Entry {
        id: "file_not_found",
        what: "No reachable node has the file.",
        todo: "Share it on another node with `model share`, and check the links with `node peers`.",
    },
    Entry {
        id: "file_sources_lost",
        what: "The nodes that have the file are no longer reachable; the received part is kept.",
        todo: "Run the same command again when they are back, to resume.",
    },
    Entry {
        id: "file_too_large",
        what: "The file exceeds the maximum size for transfers between nodes.",
        todo: "Copy it another way.",
    },
    Entry { id: "folder_empty", what: "The folder to share has no files.", todo: "Check the path." },
    Entry {
        id: "hash_missing",
        what: "The request to fetch a file names no hash.",
        todo: "Send `blake3` or `sha256`.",
    },
    Entry {
        id: "home_unreadable",
        what: "This user may not read the home of the node.",
        todo: "Run the command as the user of the node, such as with `sudo -u USER`.",
    },
    Entry {
        id: "home_unusable",
        what: "The home of the node, or a file in it, cannot be used.",
        todo: "Check its permissions and free disk space, or name another home with `--home`.",
    },
    Entry {
        id: "host_missing",
        what: "The API request has no `Host` header.",
        todo: "Send a `Host` header.",
    },
    Entry {
        id: "host_not_allowed",
        what: "The `Host` header of the API request names another host.",
        todo: "Use `http://127.0.0.1:PORT`.",
    },
    Entry { id: "hub_failed", what: "The model hub answered with an error.", todo: "Try again later." },
    Entry {
        id: "hub_malformed",
        what: "The answer of the model hub cannot be used.",
        todo: "Check `HF_ENDPOINT`, or try another revision of the model.",
    },
    Entry {
        id: "hub_unreachable",
        what: "The model hub cannot be reached.",
        todo: "Check the network. `HF_ENDPOINT` names another hub; a local directory or file needs none.",
    },
    Entry {
        id: "identity_damaged",
        what: "The key file of the node is damaged.",
        todo: "Restore it from a backup, or move it away to continue as a new node.",
    },
    Entry {
        id: "identity_mode_too_wide",
        what: "Other users can read the key of the node.",
        todo: "Run `chmod 600` on the file that the message names.",
    },
    Entry {
        id: "identity_unusable",
        what: "The key file of the node cannot be read or created.",
        todo: "Check its permissions and free disk space.",
    },
    Entry {
        id: "input_empty",
        what: "The input of a task is empty. White space counts as text. For a list, the message gives the position.",
        todo: "Give a text with `--input`, or `--input -` for standard input; remove empty items from a list.",
    },
    Entry {
        id: "input_exceeds_max_length",
        what: "The input exceeds the maximum length of a task.",
        todo: "Split it into several tasks.",
    },
    Entry {
        id: "input_not_utf8",
        what: "The input is not UTF-8 text.",
        todo: "Convert it: `iconv -t UTF-8`.",
    },
    Entry {
        id: "input_rejected",
        what: "The model rejected the input of a task; the message gives the reason and the position in a list.",
        todo: "Correct the input. A text that is too long is truncated unless the task sets `truncate: false`.",
    },
    Entry {
        id: "input_unreadable",
        what: "A file of tasks or results cannot be used.",
        todo: "Check its path and permissions.",
    },
    Entry {
        id: "inputs_out_of_range",
        what: "A task has no input, or too many inputs.",
        todo: "Distribute the inputs over several tasks.",
    },
    Entry {
        id: "insufficient_disk_space",
        what: "The model does not fit on the disk; the message gives the number of bytes needed.",
        todo: "Free space, for example with `model rm`, or move the cache with `HF_HOME`.",
    },
    Entry {
        id: "internal_error",
        what: "The node has a bug.",
        todo: "Look for `logs/crash-….txt` and open an issue.",
    },
    Entry {
        id: "invalid_value",
        what: "A value in a request is not allowed.",
        todo: "Use a value that the message names.",
    },
    Entry {
        id: "journal_cut",
        what: "A recording is incomplete: its process was killed, or the file was truncated later.",
        todo: "Use the part before the cut.",
    },
    Entry {
        id: "journal_damaged",
        what: "A recording was changed after it was written.",
        todo: "Replay the part before the damage with `--until`.",
    },
    Entry {
        id: "journal_of_another_version",
        what: "Another version of the program wrote the recording.",
        todo: "Replay it with that version.",
    },
    Entry {
        id: "journal_unreadable",
        what: "The file cannot be read, or is not a recording.",
        todo: "Name a file that `node start --record` or `sim run --record` wrote.",
    },
    Entry {
        id: "label_length_out_of_range",
        what: "A label is empty or too long.",
        todo: "Use a label within the range that the message gives.",
    },
    Entry {
        id: "labels_alike",
        what: "Two labels of a classification are the same.",
        todo: "Give two labels or more, each once.",
    },
    Entry {
        id: "labels_missing",
        what: "The model of a classification has no labels of its own, and the task names none.",
        todo: "Name at least two with `--label`, or name a model that has labels.",
    },
    Entry {
        id: "labels_out_of_range",
        what: "A classification has too few or too many labels.",
        todo: "Give at least two labels, or none if the model has its own.",
    },
    Entry {
        id: "length_ambiguous",
        what: "A request gives its length twice: `Content-Length` and `Transfer-Encoding: chunked`.",
        todo: "Send only one of the two.",
    },
    Entry {
        id: "limit_out_of_range",
        what: "The requested length of a list is not allowed.",
        todo: "Ask for 1 to 1000 items.",
    },
    Entry {
        id: "line_malformed",
        what: "A line in a file of tasks is not a valid task.",
        todo: "Write lines such as `{\"type\": \"embedding\", \"input\": \"some text\"}`.",
    },
    Entry {
        id: "log_levels_full",
        what: "Too many components have log levels of their own.",
        todo: "Run `debug log-level --reset`, or change the level of all components.",
    },
    Entry {
        id: "log_missing",
        what: "There is no log, because no node has run in this home.",
        todo: "Run `node start`, or name the home with `--home`.",
    },
    Entry { id: "log_unreadable", what: "The log cannot be read.", todo: "Check its permissions." },
    Entry {
        id: "manifest_unusable",
        what: "The file is not a valid model manifest.",
        todo: "Create one on a machine that has the model: `model share FOLDER >model.json`.",
    },
    Entry {
        id: "max_tokens_out_of_range",
        what: "The maximum number of tokens is out of range.",
        todo: "Use the range that the message gives.",
    },
    Entry {
        id: "memory_threshold_exceeded",
        what: "The node and its models use more than 80 % of `max_memory_mb` (warning) or 85 % (failure).",
        todo: "Raise `max_memory_mb`, or run fewer models.",
    },
    Entry {
        id: "messages_out_of_range",
        what: "A conversation has no messages, or too many.",
        todo: "Send only the last messages.",
    },
    Entry {
        id: "method_not_allowed",
        what: "The API path does not support this method.",
        todo: "Use a method listed in `help api`.",
    },
    Entry {
        id: "model_changed",
        what: "The model was replaced by another one with the same name during the request.",
        todo: "Send the request again.",
    },
    Entry {
        id: "model_embedded",
        what: "The model is built into the program and cannot be fetched or removed.",
        todo: "Use it by its name.",
    },
    Entry {
        id: "model_failed",
        what: "The model of a task could not be loaded or run.",
        todo: "Run `model list` for the state of the models and `node logs` for the cause.",
    },
    Entry {
        id: "model_forbidden",
        what: "The hub restricts access to the model.",
        todo: "Request access on the page of the model, and set `HF_TOKEN`.",
    },
    Entry {
        id: "model_incomplete",
        what: "Files of the model are missing.",
        todo: "Run `model pull` to fetch the rest.",
    },
    Entry {
        id: "model_is_local",
        what: "The model is a local directory or file, not a model of the hub.",
        todo: "Use it by its path; remove it yourself.",
    },
    Entry {
        id: "model_malformed",
        what: "The text is not a valid model name.",
        todo: "Use a name such as `owner/name`, `owner/name@revision`, `owner/name:Q4_0` or `./folder`.",
    },
    Entry {
        id: "model_not_fetched",
        what: "The model is not on this machine.",
        todo: "Run `model pull` to fetch it; `model list` shows the available models.",
    },
    Entry {
        id: "model_not_found",
        what: "The hub has no such model.",
        todo: "Check the name, and the revision after the `@`.",
    },
    Entry {
        id: "model_not_loaded",
        what: "No process of the node has loaded the model.",
        todo: "Give the model a task first, or check its name with `model list`.",
    },
    Entry {
        id: "model_not_pulled",
        what: "The node could not fetch the model that a task names; the message gives the cause.",
        todo: "Run `model pull`, or send a task after a minute, when the node tries again.",
    },
    Entry {
        id: "model_not_ready",
        what: "The node is still reading the files of the model to identify it.",
        todo: "Try again later.",
    },
    Entry {
        id: "model_pulling",
        what: "The node is fetching the model.",
        todo: "Try again when `model list` shows it.",
    },
    Entry {
        id: "model_too_large",
        what: "The model exceeds the maximum size.",
        todo: "Choose a smaller model, or a GGUF file with fewer bits.",
    },
    Entry {
        id: "model_unknown",
        what: "No node of the network offers a model with this name for this type of task.",
        todo: "Run `node status` to list the models of a node.",
    },
    Entry {
        id: "model_unsupported",
        what: "The format of the model is not supported; the message gives the reason.",
        todo: "Choose safetensors weights with a `tokenizer.json`, or one GGUF file, `owner/name:Q4_0`.",
    },
    Entry {
        id: "model_unusable",
        what: "This node cannot run the model; the message gives the reason.",
        todo: "Run `model list` for the state of the models.",
    },
    Entry {
        id: "network_unusable",
        what: "The node cannot accept connections on any address.",
        todo: "Check the network interfaces of the machine.",
    },
    Entry {
        id: "node_already_running",
        what: "A node is already running in this home.",
        todo: "Stop it with `node stop`, or start another one in another home with `--home`.",
    },
    Entry {
        id: "node_ambiguous",
        what: "More than one node has a name or an id that starts with this text.",
        todo: "Give more characters of the id; `node members` lists the nodes.",
    },
    Entry {
        id: "node_in_foreground",
        what: "Another program runs the node in the foreground and must restart it.",
        todo: "Run `systemctl restart p2p-ai-agents`, or restart it with the program that started it.",
    },
    Entry {
        id: "node_is_this",
        what: "The command is about another node, and this is the node itself.",
        todo: "Name another node; `node members` lists them.",
    },
    Entry {
        id: "node_not_answering",
        what: "The process of the node runs but does not answer: within 2 s to a connection, 5 s to `node ready`, 20 s to a read, 75 s to other requests.",
        todo: "Read `node logs`; stop the node with `node stop`.",
    },
    Entry { id: "node_not_ready", what: "The node is starting or stopping.", todo: "Try again in a moment." },
    Entry {
        id: "node_not_running",
        what: "No node runs in this home.",
        todo: "Run `node start`, or name its home with `--home`; `node list` shows the running nodes.",
    },
    Entry {
        id: "node_not_stopping",
        what: "The node did not stop in time.",
        todo: "Run `kill -9`; no acknowledged task is lost.",
    },
    Entry {
        id: "node_shutting_down",
        what: "The node is shutting down and accepts nothing new.",
        todo: "Use another node, or this one after its next start.",
    },
    Entry {
        id: "node_start_timeout",
        what: "The node was not ACTIVE within 30 s and was stopped.",
        todo: "Read `node logs`, or run `node start --foreground` for details.",
    },
    Entry {
        id: "node_unknown",
        what: "No known node has this name or id.",
        todo: "Run `node members` to list the nodes of the network.",
    },
    Entry {
        id: "not_started",
        what: "No node started the task before its timeout.",
        todo: "The message says what it waited for; `node members` shows which nodes run models.",
    },
    Entry {
        id: "offline",
        what: "Offline mode does not allow a fetch.",
        todo: "Remove `--offline` and `HF_HUB_OFFLINE`, or copy the model into the cache.",
    },
    Entry {
        id: "one_scenario_only",
        what: "`--record` and `--timeline` are for the run of one scenario.",
        todo: "Name one scenario.",
    },
    Entry {
        id: "origin_not_allowed",
        what: "A page from another origin called the API.",
        todo: "Serve the page from the address of the API.",
    },
    Entry {
        id: "output_failed",
        what: "The output could not be written.",
        todo: "Check the permissions and free disk space.",
    },
    Entry {
        id: "output_is_input",
        what: "The results would overwrite the tasks.",
        todo: "Name another `--output`.",
    },
    Entry {
        id: "output_not_results",
        what: "The output file holds something other than results; it was not changed.",
        todo: "Name another `--output`, or move the file away.",
    },
    Entry {
        id: "output_of_another_file",
        what: "The output file holds the results of other tasks.",
        todo: "Name another `--output`, or move the file away.",
    },
    Entry {
        id: "output_unwritable",
        what: "The output file cannot be written.",
        todo: "Check its directory, its permissions and the free disk space.",
    },
    Entry {
        id: "path_not_absolute",
        what: "The request names a relative path.",
        todo: "Send an absolute path.",
    },
    Entry {
        id: "path_unknown",
        what: "There is no file or folder at the path.",
        todo: "Check the path; it is a path on the machine of the node.",
    },
    Entry {
        id: "path_unusable",
        what: "A file or directory cannot be read.",
        todo: "Check its path and permissions.",
    },
    Entry {
        id: "poison",
        what: "The process that ran the task crashed three times.",
        todo: "Check its input; `node logs` shows the crashes.",
    },
    Entry {
        id: "port_in_use",
        what: "Another program uses the port.",
        todo: "Choose another port with `--port`, `--api-port` or `--metrics-port`.",
    },
    Entry {
        id: "process_ended",
        what: "The process of the node ended before the node was ACTIVE.",
        todo: "Run `node start --foreground` for details.",
    },
    Entry {
        id: "process_not_started",
        what: "The operating system could not start the process of the node.",
        todo: "Check its limits: `ulimit -a`.",
    },
    Entry {
        id: "profile_failed",
        what: "The system does not let the node take a profile, or the process of the model ended.",
        todo: "Read the message; the temporary directory must be writable.",
    },
    Entry {
        id: "profile_running",
        what: "Another profile of the node is being taken.",
        todo: "Wait until it is over.",
    },
    Entry {
        id: "pulls_full",
        what: "Too many models are being fetched.",
        todo: "Try again when one fetch has ended.",
    },
    Entry {
        id: "query_malformed",
        what: "The query string of the request is invalid.",
        todo: "Use the parameters listed in `help api`.",
    },
    Entry {
        id: "queue_full",
        what: "256 tasks or 64 MiB are already queued.",
        todo: "Try again after the time in the answer; `task submit --file` retries by itself.",
    },
    Entry {
        id: "record_damaged",
        what: "The stored record of the task is damaged and is not returned.",
        todo: "Submit the task again and check the disk; `doctor` and `store check` show other damage.",
    },
    Entry {
        id: "recording_unusable",
        what: "The recording cannot be started.",
        todo: "Name another file with `--record`.",
    },
    Entry {
        id: "records_damaged",
        what: "Damaged records were found in the last 24 hours (warning).",
        todo: "Check the disk; `doctor` names the records, `store check` verifies all.",
    },
    Entry {
        id: "registry_unusable",
        what: "The list of the running nodes of this user cannot be read.",
        todo: "Check the permissions of `$XDG_RUNTIME_DIR/p2p-ai-agents`.",
    },
    Entry {
        id: "replay_differs",
        what: "The replayed node behaves differently from the recorded one.",
        todo: "Use `--until` with the time that the message names and `--state` to see the state just before.",
    },
    Entry { id: "request_timeout", what: "The node took too long to answer.", todo: "Read `node logs`." },
    Entry {
        id: "route_unknown",
        what: "The API has no such path.",
        todo: "Use a path listed in `help api`.",
    },
    Entry {
        id: "scenario_invalid",
        what: "The scenario is invalid at the place shown.",
        todo: "Run `sim new NAME` to write a commented example.",
    },
    Entry {
        id: "scenario_name_malformed",
        what: "The text is not a valid scenario name.",
        todo: "Use at most 64 lower-case letters, digits and underscores.",
    },
    Entry {
        id: "scenario_unreadable",
        what: "The scenario file cannot be read.",
        todo: "Run `sim list` to list the scenarios.",
    },
    Entry {
        id: "scenario_word_unknown",
        what: "A scenario has nothing of this name.",
        todo: "Run `sim explain` to list all words.",
    },
    Entry {
        id: "scenarios_unreadable",
        what: "The directory of scenarios cannot be read.",
        todo: "Name another directory with `--dir`.",
    },
    Entry {
        id: "seed_passes",
        what: "The scenario passes with this seed, so there is no failure to shrink.",
        todo: "Run `sim run FILE --seeds 0..1000` to find a seed that fails.",
    },
    Entry {
        id: "seed_too_large",
        what: "The seed is too large for a scenario file.",
        todo: "Use a seed below 9,223,372,036,854,775,808.",
    },
    Entry {
        id: "session_ended",
        what: "The browser is not logged in to the dashboard any more.",
        todo: "Run `dashboard open`.",
    },
    Entry {
        id: "session_read_only",
        what: "The login of the browser can only read.",
        todo: "Run `dashboard open` without `--read-only`.",
    },
    Entry { id: "setting_unknown", what: "No setting has this key.", todo: "`config` lists all settings." },
    Entry {
        id: "simulator_differs",
        what: "The reduced scenario does not fail again.",
        todo: "Open an issue with the file and the seed: the simulator should be deterministic.",
    },
    Entry {
        id: "snapshot_cut",
        what: "The snapshot ends too early.",
        todo: "Copy the file again, or take another snapshot.",
    },
    Entry {
        id: "snapshot_of_another_version",
        what: "The snapshot has a format of another program version.",
        todo: "Analyze it with the version that wrote it.",
    },
    Entry {
        id: "snapshot_unreadable",
        what: "The file cannot be read, or is not a snapshot.",
        todo: "Name a file that `debug snapshot` wrote.",
    },
    Entry {
        id: "start_unknown",
        what: "The options of the last start are not known.",
        todo: "Run `node stop`, then `node start` with the options you want.",
    },
    Entry {
        id: "stop_length_out_of_range",
        what: "A stop text is empty or too long.",
        todo: "Use a text within the range that the message gives.",
    },
    Entry {
        id: "stops_out_of_range",
        what: "There are too many stop texts.",
        todo: "Give fewer stop texts.",
    },
    Entry {
        id: "storage_failed",
        what: "A task or result could not be stored, and was not accepted.",
        todo: "Free disk space; the node tries again by itself.",
    },
    Entry {
        id: "storage_timeout",
        what: "The disk did not answer within 500 ms.",
        todo: "Check the disk: it is slow or hangs.",
    },
    Entry {
        id: "storage_unusable",
        what: "The stored tasks and results cannot be opened; the message gives the reason.",
        todo: "Run `store check` for details. If the file is damaged, `node start --accept-data-loss` keeps it under another name and starts without its tasks and results.",
    },
    Entry {
        id: "system_failed",
        what: "The operating system rejected a basic operation.",
        todo: "Check its limits: `ulimit -a`.",
    },
    Entry {
        id: "task_ambiguous",
        what: "More than one task has an id that starts with these digits.",
        todo: "Give more digits of the id; `task list` shows the tasks.",
    },
    Entry {
        id: "task_cancelled",
        what: "The task of the request was cancelled.",
        todo: "Send the request again.",
    },
    Entry {
        id: "task_finished",
        what: "The task has already ended.",
        todo: "Run `task result` to show its outcome.",
    },
    Entry {
        id: "task_malformed",
        what: "The options of the task contradict each other.",
        todo: "Run `task submit --help` to see the options of each type.",
    },
    Entry {
        id: "task_not_finished",
        what: "The task has no result yet.",
        todo: "Run `task watch` to wait for it.",
    },
    Entry {
        id: "task_not_found",
        what: "This node has no such task. Results are kept for 24 hours.",
        todo: "Run `task list` to list the tasks; ask the node that accepted the task.",
    },
    Entry {
        id: "task_timeout",
        what: "The task of the request timed out.",
        todo: "Send less, or check the queue with `node status`.",
    },
    Entry {
        id: "task_type_missing",
        what: "The type of the task is missing.",
        todo: "Add `--type embedding`, `classification`, `generation` or `reranking`.",
    },
    Entry {
        id: "task_type_unsupported",
        what: "No node of the network has a model for this type of task.",
        todo: "Run `node status` to list the models of a node.",
    },
    Entry {
        id: "temperature_out_of_range",
        what: "The temperature is out of range.",
        todo: "Use the range that the message gives.",
    },
    Entry {
        id: "texts_out_of_range",
        what: "A reranking has no texts, or too many.",
        todo: "Send a number of texts within the range that the message gives.",
    },
    Entry {
        id: "threshold_out_of_range",
        what: "A threshold of an alert is not within its range. Nothing was changed.",
        todo: "Set a value within the range that the message gives. `p2p-ai-agents alerts set` shows all ranges.",
    },
    Entry {
        id: "timeline_form_unknown",
        what: "A timeline is written as `.html` or `.json`.",
        todo: "Use `--timeline run.html` for a browser, `--timeline run.json` for ui.perfetto.dev.",
    },
    Entry {
        id: "timeout_out_of_range",
        what: "The timeout of a task is not within 1 to 3600 seconds.",
        todo: "Use a `--timeout` of 1 to 3600 seconds.",
    },
    Entry {
        id: "token_missing",
        what: "The API request has no token.",
        todo: "Send `Authorization: Bearer` and the content of `run/token`.",
    },
    Entry {
        id: "token_unreadable",
        what: "The API token of the node cannot be read.",
        todo: "Run the command as the user who started the node.",
    },
    Entry {
        id: "token_wrong",
        what: "The token is not the token of this node.",
        todo: "Read `run/token` again: it changes at each start.",
    },
    Entry {
        id: "tokens_out_of_range",
        what: "An input of tokens is empty or too long.",
        todo: "Use a number of tokens within the range that the message gives.",
    },
    Entry {
        id: "too_many_fetches",
        what: "Too many files are being fetched, or the same file with another size.",
        todo: "Try again when one fetch has ended; `GET /api/v1/fetches` lists them.",
    },
    Entry {
        id: "too_many_files",
        what: "The node already shares the maximum number of files.",
        todo: "Stop sharing a file that nobody needs, or share fewer files.",
    },
    Entry { id: "too_many_pages", what: "100 pages of the dashboard are open.", todo: "Close some of them." },
    Entry {
        id: "too_many_requests",
        what: "The node already processes the maximum number of requests with the token.",
        todo: "Send the request again after the time in `Retry-After`.",
    },
    Entry {
        id: "too_many_streams",
        what: "The node already streams the maximum number of answers.",
        todo: "Close unused streams, or request answers without streaming.",
    },
    Entry {
        id: "too_many_waiting",
        what: "1024 requests are already waiting for tasks.",
        todo: "Ask for the status instead of waiting.",
    },
    Entry {
        id: "top_p_out_of_range",
        what: "`top_p` is out of range.",
        todo: "Use the range that the message gives.",
    },
    Entry {
        id: "trace_ambiguous",
        what: "Several traces or tasks begin with this id.",
        todo: "Give more digits of the id.",
    },
    Entry {
        id: "trace_id_malformed",
        what: "The text is not the start of an id.",
        todo: "Give at least four hexadecimal digits of the id of a task or a trace.",
    },
    Entry {
        id: "trace_incomplete",
        what: "The node that accepted the task did not answer, and only it knows why its worker was chosen.",
        todo: "Run the command at that node, or run `trace` to see what other nodes know.",
    },
    Entry {
        id: "trace_not_found",
        what: "No reachable node has a trace or a task with this id. Traces are kept for 48 hours.",
        todo: "Check the id with `task list`, and `trace_sample` in the settings of the node.",
    },
    Entry {
        id: "transfer_broken",
        what: "The transfer of a model failed repeatedly; the received part is kept.",
        todo: "Run the same command again to fetch the rest.",
    },
    Entry {
        id: "unshrinkable",
        what: "The failure cannot be reduced.",
        todo: "Inspect the run itself: `sim run FILE --seed N --timeline run.html`.",
    },
    Entry {
        id: "user_unknown",
        what: "The machine has no user of this name.",
        todo: "Name another with `--run-as`, or create the user.",
    },
    Entry {
        id: "validation",
        what: "A value in a text-embeddings request is not allowed.",
        todo: "Use a value that the message names.",
    },
    Entry {
        id: "wait_out_of_range",
        what: "One request can wait for at most one minute.",
        todo: "Ask again until the task has ended.",
    },
    Entry {
        id: "wrong_hash",
        what: "A file of a model arrived damaged and was removed.",
        todo: "Run the same command again to fetch it.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// Passes every source file of a folder to `visit`. Skips tests, because they use errors of their own.
    fn sources(folder: &Path, visit: &mut impl FnMut(&str)) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                sources(&path, visit);
            } else if name.ends_with(".rs") && !is_test(name) {
                let text = fs::read_to_string(&path).unwrap();
                visit(text.split("#[cfg(test)]").next().unwrap_or_default());
            }
        }
    }

    fn is_test(name: &str) -> bool {
        name.ends_with("tests.rs")
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
        let mut visit = |text: &str| {
            for start in [".id(\"", "internal(\""] {
                found.extend(
                    text.split(start).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned),
                );
            }
            for rest in text.split("ApiError::new(").skip(1) {
                found.extend(names(rest.split(&['(', ')', ';']).next().unwrap_or_default()));
            }
            // An arm of a `match` that gives a status and a code.
            for rest in text.split(" (StatusCode::").skip(1).filter(|rest| !rest.starts_with("OK,")) {
                found.extend(names(rest.split(')').next().unwrap_or_default()));
            }
            for start in ["fn code(", "fn id("] {
                for rest in text.split(start).skip(1) {
                    found.extend(names(rest.split("\n    }\n").next().unwrap_or_default()));
                }
            }
        };
        for folder in ["src", "../engine/src", "../runtime/src"] {
            sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut visit);
        }
        for name in [
            "file_exists",
            "folder_empty",
            "model_embedded",
            "poison",
            "pulls_full",
            "queue_full",
            "replay_differs",
        ] {
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
