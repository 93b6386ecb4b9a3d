// The list of jobs, and one job with its progress as it goes.
import { $, api, clearError, count, duration, el, emptyState, hasEnded, query, row, sentence, showError, table, time, watchJob } from "./common.js";
import { reportLink } from "./lists.js";

const WATCHED = 2; // running jobs of the list that are followed: a browser has few connections to one server

const name = (path) => path?.split("/").filter(Boolean).pop() ?? "";

// "grocery with arcface", "photos into shop"
function what(job) {
    const { train, index, evaluate } = job.spec ?? {};
    if (train) {
        return `${name(train.dataset)} with ${train.loss}`;
    }
    if (index) {
        return `${name(index.dataset)} into ${index.collection}`;
    }
    return evaluate ? `${name(evaluate.dataset)}, ${count(evaluate.models.length)} ${evaluate.models.length === 1 ? "model" : "models"}` : "";
}

const stateOf = (job) => el("span", { class: `state ${job.state}` }, job.state);

function took(job) {
    const begun = Number(job.started_unix_ms);
    const ended = Number(job.finished_unix_ms) || (hasEnded(job) ? 0 : Date.now());
    return begun > 0 && ended >= begun ? duration(ended - begun) : "";
}

function bar(progress) {
    const total = Number(progress?.total ?? 0);
    return total > 0 ? el("progress", { max: total, value: Number(progress.done), "aria-label": "Progress" }) : el("progress", { "aria-label": "Progress" });
}

function share(progress) {
    const total = Number(progress?.total ?? 0);
    return total > 0 ? `${Math.floor(100 * Number(progress.done) / total)} %` : "";
}

// ---- The list

const heads = [["Job"], ["State"], ["Kind"], ["Progress"], ["Queued"], ["Took", true]];

function cells(job) {
    const running = job.state === "running";
    return [
        el("a", { href: `/jobs/${encodeURIComponent(job.id)}` }, what(job) || job.id), stateOf(job), job.kind,
        running ? [bar(job.progress), " ", el("small", {}, [job.progress?.phase, share(job.progress)].filter(Boolean).join(", "))]
            : job.state === "failed" && job.error ? el("small", {}, job.error.message) : "",
        time(job.created_unix_ms), took(job),
    ];
}

// A page that is not seen holds no connection.
function whenSeen(begin, end) {
    document.addEventListener("visibilitychange", () => document.hidden ? end() : begin());
    begin();
}

let watching = null;
let pageToken = "";

function follow(jobs) {
    for (const job of jobs.filter((one) => one.state === "running").slice(0, WATCHED)) {
        watchJob(job.id, (now) => {
            const old = document.getElementById(`row-${now.id}`);
            old?.replaceChildren(...row(heads, cells(now)).childNodes);
        }, () => {}, watching.signal);
    }
}

async function showList(more = false) {
    const filter = { kind: $("#kind").value, state: $("#state").value };
    if (!more) {
        watching?.abort();
        watching = new AbortController();
        pageToken = "";
        $("#status").textContent = "Loading…";
    }
    try {
        const page = await api(`/v1/jobs${query({ ...filter, page_size: 50, page_token: pageToken })}`);
        const rows = page.jobs.map((job) => row(heads, cells(job), { id: `row-${job.id}` }));
        clearError();
        if (more) {
            $("#list tbody").append(...rows);
        } else if (rows.length > 0) {
            $("#list").replaceChildren(table(heads, rows));
        } else {
            $("#list").replaceChildren(filter.kind || filter.state ? el("div", { class: "empty" }, el("p", {}, "No job is like this."))
                : emptyState("There is no job yet. Train, index or evaluate:", "kindred train DIR --loss triplet --model plain --name trained",
                    "kindred index DIR --model trained --collection shop", "kindred evaluate DIR --model trained --out report"));
        }
        pageToken = page.next_page_token;
        $("#more").hidden = !pageToken;
        const shown = document.querySelectorAll("#list tbody tr").length;
        $("#status").textContent = shown > 0 ? `${count(shown)} ${shown === 1 ? "job" : "jobs"}${pageToken ? ", there are more" : ""}.` : "";
        follow(page.jobs);
    } catch (problem) {
        $("#status").textContent = "";
        showError(problem, () => showList(more));
    }
}

function beginList() {
    const params = new URLSearchParams(location.search);
    $("#kind").value = params.get("kind") ?? "";
    $("#state").value = params.get("state") ?? "";
    $("#filter").addEventListener("submit", (event) => event.preventDefault());
    $("#filter").addEventListener("change", () => {
        history.replaceState(null, "", location.pathname + query({ kind: $("#kind").value, state: $("#state").value }));
        showList();
    });
    $("#more").addEventListener("click", () => showList(true));
    whenSeen(() => showList(), () => watching?.abort());
}

// ---- One job

function facts(pairs) {
    return el("dl", { class: "facts" }, ...pairs.filter(([, value]) => value !== undefined && value !== null && value !== "").map(([head, value, wide]) =>
        el("div", { class: wide ? "wide" : null }, el("dt", {}, head), el("dd", {}, ...[value].flat()))));
}

function progressOf(job) {
    const progress = job.progress;
    if (job.state !== "running" || !progress) {
        return null;
    }
    const done = Number(progress.done), total = Number(progress.total), rate = progress.rate;
    const left = rate > 0 && total > done ? `about ${duration(1000 * (total - done) / rate)} left` : "";
    return el("section", { class: "live", "aria-label": "Progress" },
        el("p", { class: "phase" }, progress.phase || "working"),
        bar(progress),
        el("p", { class: "numbers" }, [
            total > 0 ? `${count(done)} of ${count(total)} images (${share(progress)})` : "", rate > 0 ? `${rate < 10 ? rate.toFixed(1) : count(Math.round(rate))} a second` : "", left, progress.detail,
        ].filter(Boolean).join(" · ")));
}

// A spec has models by their ids; people know them by name, which is looked up once.
const modelNames = new Map();

async function learnNames(job) {
    const { model, models = [] } = job.spec?.[job.kind] ?? {};
    const unknown = [model, ...models].filter((id) => id && !modelNames.has(id));
    for (const id of unknown) {
        modelNames.set(id, id); // it may be gone: the id stays
        await api(`/v1/models/${encodeURIComponent(id)}`).then((answer) => modelNames.set(id, answer.model.name), () => {});
    }
    return unknown.length > 0;
}

function askedValue(field, value) {
    if (field === "model" || field === "models") {
        return [value].flat().map((id) => modelNames.get(id) ?? id).join(", ");
    }
    return Array.isArray(value) ? value.join(", ") : typeof value === "object" ? String(value.value) : value === true ? "yes" : String(value);
}

// What was asked for, field by field; what is zero or empty was left to its default.
function asked(job) {
    const spec = job.spec?.[job.kind] ?? {};
    return Object.entries(spec).filter(([, value]) => value !== "" && value !== 0 && value !== false && !(Array.isArray(value) && value.length === 0))
        .map(([field, value]) => [field.replaceAll("_", " "), askedValue(field, value), field === "dataset"]);
}

function brought(job) {
    const result = job.result;
    if (!result) {
        return [];
    }
    const training = result.training;
    return [
        ["model", result.model_name && el("a", { href: "/models" }, result.model_name)],
        ["collection", result.collection && el("a", { href: `/${query({ collection: result.collection })}` }, result.collection)],
        ["images", count(result.images)],
        ["skipped images", Number(result.skipped) > 0 ? `${count(result.skipped)}: ${result.skipped_names.join("; ")}` : "", true],
        ["protocol", result.protocol],
        ["epochs", training && `${training.epochs}, the best was ${training.best_epoch}`],
        ["MAP@5 in validation", training?.map_at_5 && training.map_at_5.value.toFixed(4)],
        ["recall@1 in validation", training?.recall_at_1 && training.recall_at_1.value.toFixed(4)],
    ];
}

const metricHeads = [["Model"], ["Labels"], ["Recall@1", true], ["Recall@5", true], ["MAP@5", true], ["Accuracy", true], ["F1", true], ["Queries", true]];

function metrics(job) {
    const models = job.result?.metrics ?? [];
    if (models.length === 0) {
        return null;
    }
    const rows = models.flatMap((model) => [["class", model.by_class], ["super-class", model.by_super_class]].map(([labels, m]) => row(metricHeads, [
        model.model_name, labels, ...[m.recall_at_1, m.recall_at_5, m.map_at_5, m.accuracy, m.f1].map((value) => value.toFixed(4)), count(m.queries),
    ])));
    return el("section", {}, el("h2", {}, "Measures"), table(metricHeads, rows));
}

function actions(job, act) {
    const buttons = [];
    if (!hasEnded(job)) {
        buttons.push(el("button", { type: "button", id: "cancel", onclick: () => act("cancel") }, "Cancel"));
    } else if (job.state !== "done") {
        buttons.push(el("button", { type: "button", id: "retry", onclick: () => act("retry") }, "Queue it again"));
    }
    if (job.kind === "evaluate" && job.state === "done") {
        buttons.push(reportLink(job.id, "Open the report", "report/report.html", { class: "button first" }));
    }
    if (job.kind === "train" && Number(job.started_unix_ms) > 0) {
        buttons.push(reportLink(job.id, "Learning curves", "run/run.html", { class: "button" }));
    }
    if (job.kind === "index" && job.state === "done") {
        buttons.push(el("a", { class: "button first", href: `/${query({ collection: job.result?.collection ?? "" })}` }, "Search in it"));
    }
    return el("div", { class: "actions" }, ...buttons);
}

function failure(job) {
    if (job.state !== "failed" || !job.error) {
        return null;
    }
    const last = job.dead ? "It was given up after its last try. Mend what the sentence says, then queue it again." : "Mend what the sentence says, then queue it again.";
    return el("div", { class: "error" }, el("p", {}, el("strong", {}, sentence(job.error.message))), el("p", {}, last));
}

async function beginJob() {
    const id = decodeURIComponent(location.pathname.slice("/jobs/".length));
    let announced = "";
    const act = async (verb) => {
        clearError();
        try {
            const { job } = await api(`/v1/jobs/${encodeURIComponent(id)}/${verb}`, { method: "POST" });
            show(job);
            if (verb === "retry") {
                follow();
            } else if (!hasEnded(job)) {
                $("#status").textContent = "It ends at its next step.";
            }
        } catch (problem) {
            showError(problem);
        }
    };
    let shown = null;
    const show = (job) => {
        shown = job;
        learnNames(job).then((some) => some && show(shown));
        const focused = document.activeElement?.id;
        $("#title").textContent = `${job.kind.charAt(0).toUpperCase()}${job.kind.slice(1)}: ${what(job)}`;
        document.title = `kindred: ${job.state}, ${job.kind} ${what(job)}`;
        $("#job").replaceChildren(...[
            progressOf(job), failure(job), actions(job, act),
            facts([["State", stateOf(job)], ["Queued", time(job.created_unix_ms)], [hasEnded(job) ? "Took" : "Runs for", took(job)], ["Try", job.attempt > 1 ? String(job.attempt) : ""], ["Id", el("code", {}, job.id)]]),
            metrics(job),
            job.result ? el("section", {}, el("h2", {}, "Result"), facts(brought(job))) : null,
            el("section", {}, el("h2", {}, "Asked for"), facts(asked(job))),
        ].filter(Boolean));
        if (focused === "cancel" || focused === "retry") {
            (document.getElementById(focused) ?? $("#job button"))?.focus();
        }
        if (job.state !== announced) { // progress itself is not announced at each step
            announced = job.state;
            $("#status").textContent = { queued: "Waits for a worker.", running: "Is being worked on; this page follows it.", done: "Has ended well.", failed: "Has failed.", cancelled: "Was cancelled." }[job.state] ?? "";
        }
    };
    let following = null;
    const follow = () => {
        following?.abort();
        following = new AbortController();
        watchJob(id, show, (problem) => problem ? showError(problem) : clearError(), following.signal);
    };
    whenSeen(follow, () => following.abort());
}

if ($("#filter")) {
    beginList();
} else {
    beginJob();
}
