// Collections, models and reports: each a list of what is there.
import { $, all, bytes, count, el, emptyState, key, query, row, showError, table, time } from "./common.js";

const lists = {
    collections: {
        path: "/v1/collections",
        field: "collections",
        heads: [["Name"], ["Images", true], ["Products", true], ["Super-classes", true], ["Model"], ["Index"], ["In memory", true], ["On disk", true], ["Made"]],
        cells: (one) => [
            one.damage === "" ? el("a", { href: `/${query({ collection: one.name })}` }, one.name) : one.name,
            count(one.count), count(one.classes), count(one.super_classes), el("code", {}, one.model_id),
            one.damage === "" ? one.index : el("span", { class: "state failed" }, `damaged: ${one.damage}`),
            bytes(one.memory_bytes), bytes(one.disk_bytes), time(one.created_unix_ms),
        ],
        more: (one) => one.aliases.length > 0 ? el("small", {}, ` also ${one.aliases.join(", ")}`) : null,
        empty: () => emptyState("There is no collection yet. Make one from a folder of photographs, with a model:", "kindred index DIR --model MODEL --collection shop"),
        said: (n) => `${count(n)} ${n === 1 ? "collection" : "collections"}.`,
    },
    models: {
        path: "/v1/models",
        field: "models",
        heads: [["Name"], ["Id"], ["Architecture"], ["Dimensions", true], ["Input", true], ["From"], ["Size", true], ["Published"]],
        cells: (one) => [
            one.name, el("code", {}, one.id), one.architecture, count(one.dim), `${one.image_size} × ${one.image_size}`, origin(one),
            bytes(one.bytes), time(one.created_unix_ms),
        ],
        empty: () => emptyState("There is no model yet. Import weights, or begin with random ones and train them:",
            "kindred model import resnet18.pth --name plain", "kindred model init --name plain\nkindred train DIR --loss triplet --model plain --name trained"),
        said: (n) => `${count(n)} ${n === 1 ? "model" : "models"}.`,
    },
    reports: {
        path: "/v1/jobs?kind=evaluate&state=done",
        field: "jobs",
        heads: [["Report"], ["Protocol"], ["Models"], ["Recall@1", true], ["MAP@5", true], ["Queries", true], ["Made"]],
        cells: (one) => [
            reportLink(one.id, datasetOf(one)), one.result?.protocol ?? "", lines(one, (model) => model.model_name),
            lines(one, (model) => model.by_class.recall_at_1.toFixed(4)), lines(one, (model) => model.by_class.map_at_5.toFixed(4)),
            count(one.result?.metrics[0]?.by_class.queries ?? 0), time(one.finished_unix_ms),
        ],
        more: (one) => el("small", {}, el("br"), "by ", el("a", { href: `/jobs/${encodeURIComponent(one.id)}` }, "its job")),
        empty: () => emptyState("There is no report yet. Measure a model on photographs that it was not trained with:", "kindred evaluate DIR --model MODEL --out report"),
        said: (n) => `${count(n)} ${n === 1 ? "report" : "reports"}.`,
    },
};

function origin(model) {
    if (model.source === "init") {
        return "random weights";
    }
    if (model.source === "import") {
        return "imported";
    }
    return el("a", { href: `/jobs/${encodeURIComponent(model.source)}` }, "training");
}

const datasetOf = (job) => job.spec?.evaluate?.dataset.split("/").pop() || "report";

function lines(job, text) {
    return (job.result?.metrics ?? []).flatMap((model, i) => i > 0 ? [el("br"), text(model)] : [text(model)]);
}

// A link sends no key: with one, the page that fetches the report shows it.
export function reportLink(job, text, path = "report/report.html", attributes = {}) {
    const id = encodeURIComponent(job);
    const keyed = path.startsWith("run/") ? `/runs/${id}` : `/reports/${id}`;
    return el("a", { href: key() ? keyed : `/v1/jobs/${id}/${path}`, ...attributes }, text);
}

async function show(box) {
    const list = lists[box.dataset.list];
    $("#status").textContent = "Loading…";
    try {
        const found = await all(list.path, list.field);
        $("#status").textContent = found.length > 0 ? list.said(found.length) : "";
        box.replaceChildren(found.length === 0 ? list.empty() : table(list.heads, found.map((one) => {
            const made = row(list.heads, list.cells(one));
            const more = list.more?.(one);
            if (more) {
                made.firstChild.append(more);
            }
            return made;
        })));
    } catch (problem) {
        $("#status").textContent = "";
        showError(problem, () => show(box));
    }
}

const box = $("#list[data-list]");
if (box) {
    show(box);
}
