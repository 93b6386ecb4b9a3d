// The search page. What is asked for is in the URL where it can be (the collection, an indexed
// image, the filters); a photograph of the user's is kept in this page's memory, by the number that
// the history's entry has.
import { $, all, api, clearError, count, el, emptyState, query, showError, showImage } from "./common.js";

const MAX_BYTES = 32 * 1024 * 1024;
const THUMBNAIL = 256;
const BROWSE = 24;

const photographs = []; // {blob, name, url}
let collections = [];
let running = null; // the AbortController of the search that is on its way
let browseToken = "";

const fields = {
    collection: $("#collection"), superClass: $("#super-class"), minScore: $("#min-score"), count: $("#count"), byClass: $("#by-class"),
};

// ---- State: URL and history

function readUrl() {
    const params = new URLSearchParams(location.search);
    const number = history.state?.photograph;
    return {
        collection: params.get("collection") ?? "",
        image: params.get("image") ?? "",
        photograph: Number.isInteger(number) ? number : -1,
        superClass: params.get("super_class") ?? "",
        minScore: params.get("min_score") ?? "0",
        count: params.get("k") ?? "12",
        byClass: params.get("by_class") === "1",
    };
}

function urlOf(state) {
    return location.pathname + query({
        collection: state.collection, image: state.image, super_class: state.superClass,
        min_score: Number(state.minScore) > 0 ? state.minScore : "", k: state.count === "12" ? "" : state.count, by_class: state.byClass ? "1" : "",
    });
}

function go(change, replace = false) {
    const state = { ...readUrl(), ...formState(), ...change };
    const entry = { photograph: state.photograph };
    history[replace ? "replaceState" : "pushState"](entry, "", urlOf(state));
    return refresh();
}

function formState() {
    return {
        collection: fields.collection.value, superClass: fields.superClass.value.trim(), minScore: fields.minScore.value,
        count: fields.count.value, byClass: fields.byClass.checked,
    };
}

function fillForm(state) {
    if (state.collection && [...fields.collection.options].some((option) => option.value === state.collection)) {
        fields.collection.value = state.collection;
    }
    fields.superClass.value = state.superClass;
    fields.minScore.value = state.minScore;
    fields.byClass.checked = state.byClass;
    if (![...fields.count.options].some((option) => option.value === state.count)) {
        fields.count.append(el("option", {}, state.count));
    }
    fields.count.value = state.count;
    tellScore();
}

function tellScore() {
    $("#min-score-text").textContent = Number(fields.minScore.value) > 0 ? Number(fields.minScore.value).toFixed(2) : "any";
}

// ---- Results

function card(state, item, picture, score) {
    const name = item.class_name || `class ${item.class_id}`;
    const link = el("a", { class: "hit", href: urlOf({ ...state, image: item.image_id, photograph: -1 }), "data-image": String(item.image_id), title: item.uri },
        el("span", { class: "picture" }, picture),
        el("span", { class: "about" },
            el("span", { class: "name" }, name),
            el("span", { class: "kind" }, item.super_class_name || `super-class ${item.super_class_id}`),
            score === undefined ? null : el("span", { class: "score" },
                el("meter", { min: 0, max: 1, value: Math.max(0, score), "aria-hidden": "true" }), `${score.toFixed(3)}`)));
    link.addEventListener("click", (event) => {
        if (event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
            event.preventDefault();
            go({ image: String(item.image_id), photograph: -1 }).then(() => $("#found-title").focus());
        }
    });
    return el("li", {}, link);
}

function noPicture() {
    return el("span", {}, "no picture");
}

function storedPicture(collection, id, alt = "") {
    const img = el("img", { alt, loading: "lazy", width: THUMBNAIL, height: THUMBNAIL });
    const path = `/v1/collections/${encodeURIComponent(collection)}/items/${id}/image?size=${THUMBNAIL}`;
    img.addEventListener("error", () => img.replaceWith(noPicture()));
    showImage(img, path).catch(() => img.replaceWith(noPicture()));
    return img;
}

function showHits(state, answer) {
    const list = answer.hits.map(({ item, score, thumbnail }) => card(state, item,
        thumbnail ? el("img", { alt: "", src: `data:image/jpeg;base64,${thumbnail}`, width: THUMBNAIL, height: THUMBNAIL }) : noPicture(), score));
    $("#results").replaceChildren(...list);
    offerSuperClasses(answer.hits.map((hit) => hit.item));
    const spent = Math.max(1, Math.round(answer.embed_ms + answer.search_ms));
    $("#status").textContent = list.length > 0
        ? `${count(list.length)} ${list.length === 1 ? "result" : "results"} in ${spent} ms, the nearest first.`
        : "Nothing passes the filters.";
    $("#empty").replaceChildren(...(list.length > 0 ? [] : [el("div", { class: "empty" },
        el("p", {}, "Nothing in this collection passes the filters. Lower the score, or take the super-class away."),
        el("button", { type: "button", onclick: () => go({ superClass: "", minScore: "0" }) }, "Take the filters away"))]));
}

const superClasses = new Set();

function offerSuperClasses(items) {
    const before = superClasses.size;
    for (const item of items) {
        if (item.super_class_name) {
            superClasses.add(item.super_class_name);
        }
    }
    if (superClasses.size !== before) {
        $("#super-classes").replaceChildren(...[...superClasses].sort().map((name) => el("option", { value: name })));
    }
}

// ---- The query's own picture

function showQuery(state) {
    const box = $("#query");
    const asks = state.image !== "" || state.photograph >= 0;
    box.hidden = !asks;
    $("#drop").classList.toggle("asked", asks);
    if (!asks) {
        box.replaceChildren();
        return;
    }
    const own = photographs[state.photograph];
    const preview = own ? el("img", { src: own.url, alt: "Your photograph" }) : null;
    preview?.addEventListener("error", () => preview.replaceWith(el("span", {}, "no preview")));
    box.replaceChildren(
        preview ?? storedPicture(state.collection, state.image, `Image ${state.image} of the collection`),
        el("div", {},
            el("p", {}, own ? own.name : `Image ${state.image} of ${state.collection}`),
            el("button", { type: "button", onclick: () => go({ image: "", photograph: -1 }).then(() => $("#file").focus()) }, "Clear")));
}

// ---- Searching

async function search(state, signal) {
    const values = {
        collection: state.collection, k: state.count, super_classes: state.superClass, by_class: state.byClass ? "true" : "",
        min_score: Number(state.minScore) > 0 ? state.minScore : "", thumbnail_size: THUMBNAIL,
    };
    const own = photographs[state.photograph];
    if (own) {
        return api(`/v1/search${query(values)}`, { method: "POST", body: own.blob, headers: { "Content-Type": own.blob.type || "application/octet-stream" }, signal });
    }
    return api(`/v1/search${query({ ...values, image_id: state.image })}`, { signal });
}

async function browse(state, signal, token = "") {
    const page = await api(`/v1/collections/${encodeURIComponent(state.collection)}/items${query({ page_size: BROWSE, page_token: token })}`, { signal });
    const cards = page.items.map((item) => card(state, item, storedPicture(state.collection, item.image_id)));
    if (token) {
        $("#results").append(...cards);
    } else {
        $("#results").replaceChildren(...cards);
    }
    offerSuperClasses(page.items);
    browseToken = page.next_page_token;
    $("#more").hidden = !browseToken;
    $("#status").textContent = $("#results").childElementCount > 0
        ? "Choose a photograph, or begin with an image of the collection."
        : "This collection is empty.";
    if ($("#results").childElementCount === 0) {
        $("#empty").replaceChildren(emptyState("This collection holds no images yet. Fill it with", `kindred index DIR --model MODEL --collection ${state.collection}`));
    }
}

async function refresh() {
    const state = readUrl();
    fillForm(state);
    state.collection = fields.collection.value;
    running?.abort();
    const mine = running = new AbortController();
    clearError();
    if (!state.collection) {
        return;
    }
    $("#more").hidden = true;
    if (state.photograph >= 0 && !photographs[state.photograph]) {
        state.photograph = -1; // the page was loaded anew: it can't have the file
        history.replaceState({}, "");
    }
    showQuery(state);
    const asks = state.image !== "" || state.photograph >= 0;
    $("#found-title").textContent = asks ? "Nearest products" : "In the collection";
    document.title = asks && state.image ? `kindred: like image ${state.image} of ${state.collection}` : "kindred: search by photograph";
    $("#results").classList.add("stale");
    $("#results").setAttribute("aria-busy", "true");
    $("#status").textContent = asks ? "Searching…" : "Loading…";
    try {
        if (asks) {
            const answer = await search(state, mine.signal);
            showHits(state, answer);
        } else {
            $("#empty").replaceChildren();
            await browse(state, mine.signal);
        }
    } catch (problem) {
        if (problem.name === "AbortError") {
            return;
        }
        $("#results").replaceChildren();
        $("#empty").replaceChildren();
        $("#status").textContent = "";
        showError(problem, refresh);
    }
    if (mine === running) {
        $("#results").classList.remove("stale");
        $("#results").removeAttribute("aria-busy");
    }
}

// ---- A photograph comes

function take(file) {
    if (!file) {
        return;
    }
    if (file.type && !file.type.startsWith("image/")) {
        showError({ code: "INVALID_ARGUMENT", message: `${file.name} is not a picture: JPEG, PNG and WebP are read` });
        return;
    }
    if (file.size > MAX_BYTES) {
        showError({ code: "INVALID_ARGUMENT", message: `${file.name} has ${count(Math.ceil(file.size / 1048576))} MiB, up to 32 are taken` });
        return;
    }
    photographs.push({ blob: file, name: file.name || "Pasted picture", url: URL.createObjectURL(file) });
    go({ image: "", photograph: photographs.length - 1 }).then(() => $("#found-title").focus({ preventScroll: true }));
}

function setUpInput() {
    for (const input of [$("#file"), $("#camera")]) {
        input.addEventListener("change", () => {
            take(input.files[0]);
            input.value = "";
        });
    }
    document.addEventListener("paste", (event) => {
        const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
        if (file) {
            event.preventDefault();
            take(file);
        }
    });
    const drop = $("#drop");
    let depth = 0;
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("dragenter", () => drop.classList.toggle("over", ++depth > 0));
    document.addEventListener("dragleave", () => drop.classList.toggle("over", --depth > 0));
    document.addEventListener("drop", (event) => {
        event.preventDefault();
        depth = 0;
        drop.classList.remove("over");
        take(event.dataTransfer.files[0]);
    });
    $("#ask").addEventListener("submit", (event) => event.preventDefault());
    fields.minScore.addEventListener("input", tellScore);
    fields.collection.addEventListener("change", () => {
        superClasses.clear();
        go({ image: "", superClass: "" });
    });
    for (const field of [fields.superClass, fields.minScore, fields.count, fields.byClass]) {
        field.addEventListener("change", () => go({}, true));
    }
    fields.superClass.addEventListener("keydown", (event) => {
        if (event.key === "Enter") {
            go({}, true);
        }
    });
    $("#more").addEventListener("click", async () => {
        $("#more").disabled = true;
        await browse({ ...readUrl(), ...formState() }, running.signal, browseToken).catch((problem) => showError(problem));
        $("#more").disabled = false;
    });
    addEventListener("popstate", refresh);
}

// On a phone the results come first.
function foldFilters() {
    const state = readUrl();
    const narrow = matchMedia("(max-width: 48rem)").matches;
    $("#filters").open = !narrow || state.superClass !== "" || state.byClass || Number(state.minScore) > 0;
}

async function begin() {
    try {
        collections = (await all("/v1/collections", "collections")).filter((one) => one.damage === "");
    } catch (problem) {
        $("#status").textContent = "";
        showError(problem, begin);
        return;
    }
    clearError();
    $("#ask").hidden = collections.length === 0;
    if (collections.length === 0) {
        $("#found-title").textContent = "Nothing to search in yet";
        $("#empty").replaceChildren(emptyState("A search looks in a collection, and there is none. Make one from a folder of photographs:",
            "kindred model init --name plain\nkindred train DIR --loss triplet --model plain --name trained\nkindred index DIR --model trained --collection shop"));
        return;
    }
    const names = collections.flatMap((one) => [one.name, ...one.aliases]);
    fields.collection.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
    const wanted = readUrl().collection;
    if (wanted && !names.includes(wanted)) {
        fields.collection.prepend(el("option", { value: wanted }, wanted));
    }
    await refresh();
}

setUpInput();
foldFilters();
begin();
