// What the pages share: elements, the JSON form, errors that say what to do, the key.

export const $ = (selector, root = document) => root.querySelector(selector);

// Text is set as text: nothing that the server says becomes markup.
export function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (value === undefined || value === null || value === false) {
            continue;
        }
        if (name.startsWith("on")) {
            node.addEventListener(name.slice(2), value);
        } else if (name in node && name !== "list" && typeof value !== "string") {
            node[name] = value;
        } else {
            node.setAttribute(name, value === true ? "" : value);
        }
    }
    node.append(...children.filter((child) => child !== undefined && child !== null));
    return node;
}

// ---- The key

const KEY = "kindred-key";

export function key() {
    return sessionStorage.getItem(KEY) ?? "";
}

function setUpKey() {
    const box = $("#key");
    const text = $("#key-text");
    text.value = key();
    $("form", box).addEventListener("submit", (event) => {
        event.preventDefault();
        if (text.value.trim()) {
            sessionStorage.setItem(KEY, text.value.trim());
        } else {
            sessionStorage.removeItem(KEY);
        }
        location.reload();
    });
    box.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && box.open) {
            box.open = false;
            $("summary", box).focus();
        }
    });
}

// ---- The JSON form

export class Problem extends Error {
    constructor(code, message) {
        super(message);
        this.code = code;
    }
}

// Ids of 64 bits that a number can't hold stay text.
function exact(name, value, context) {
    return Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source ? context.source : value;
}

function headers(more = {}) {
    return key() ? { ...more, Authorization: `Bearer ${key()}` } : more;
}

async function problemOf(answer) {
    const said = await answer.json().catch(() => ({}));
    return new Problem(said.code ?? "UNKNOWN", said.message ?? `The gateway answered ${answer.status}.`);
}

export async function fetchOk(path, options = {}) {
    let answer;
    try {
        answer = await fetch(path, { ...options, headers: headers(options.headers), cache: options.cache ?? "default" });
    } catch (problem) {
        if (problem.name === "AbortError") {
            throw problem;
        }
        throw new Problem("OFFLINE", "The gateway does not answer.");
    }
    if (!answer.ok) {
        throw await problemOf(answer);
    }
    return answer;
}

export async function api(path, options = {}) {
    const answer = await fetchOk(path, options);
    return JSON.parse(await answer.text(), exact);
}

export function query(values) {
    const params = new URLSearchParams();
    for (const [name, value] of Object.entries(values)) {
        if (value !== undefined && value !== null && value !== "") {
            params.append(name, value);
        }
    }
    const text = params.toString();
    return text ? `?${text}` : "";
}

// All pages of a list, at most `most` things.
export async function all(path, field, most = 1000) {
    const found = [];
    let token = "";
    do {
        const page = await api(path + (path.includes("?") ? "&" : "?") + `page_size=500&page_token=${encodeURIComponent(token)}`);
        found.push(...page[field]);
        token = page.next_page_token;
    } while (token && found.length < most);
    return found;
}

// An <img>'s source can't send a key: then it is fetched.
export async function showImage(img, path) {
    if (!key()) {
        img.src = path;
        return;
    }
    const url = URL.createObjectURL(await (await fetchOk(path)).blob());
    img.onload = img.onerror = () => URL.revokeObjectURL(url);
    img.src = url;
}

// ---- A job's changes

async function* eventsOf(answer) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
        const { value, done } = await reader.read();
        if (done) {
            return;
        }
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        for (const part of parts) {
            const event = {};
            for (const line of part.split("\n")) {
                const colon = line.indexOf(": ");
                if (colon > 0) {
                    event[line.slice(0, colon)] = line.slice(colon + 2);
                }
            }
            if (event.data) {
                yield event;
            }
        }
    }
}

const ENDED = new Set(["done", "failed", "cancelled"]);
export const hasEnded = (job) => ENDED.has(job.state);

// Calls onJob at each change until the job has ended; a lost connection is made again.
export async function watchJob(id, onJob, onTrouble, signal) {
    for (let wait = 500; ; wait = Math.min(wait * 2, 15000)) {
        try {
            const answer = await fetchOk(`/v1/jobs/${encodeURIComponent(id)}/watch`, { signal, cache: "no-store" });
            for await (const event of eventsOf(answer)) {
                if (event.event === "error") {
                    const said = JSON.parse(event.data);
                    throw new Problem(said.code, said.message);
                }
                const job = JSON.parse(event.data, exact);
                wait = 500;
                onTrouble(null);
                onJob(job);
                if (hasEnded(job)) {
                    return;
                }
            }
        } catch (problem) {
            if (signal.aborted) {
                return;
            }
            onTrouble(problem);
            if (!["OFFLINE", "UNAVAILABLE", "RESOURCE_EXHAUSTED", undefined].includes(problem.code)) {
                return;
            }
        }
        await new Promise((resolve) => setTimeout(resolve, wait));
    }
}

// ---- Errors

const ADVICE = {
    OFFLINE: ["Is the stack up? Start it with ", "kindred up --detach"],
    UNAVAILABLE: ["A part of the stack is away, or starting. See which with ", "kindred status"],
    RESOURCE_EXHAUSTED: ["Too much at a time, or too large. Try again in a moment."],
    UNAUTHENTICATED: ["This gateway wants an API key: give it under “Key” at the top."],
    PERMISSION_DENIED: ["The key’s scope may be too small: give another under “Key” at the top."],
    DEADLINE_EXCEEDED: ["The stack is busy. Try again in a moment."],
    DATA_LOSS: ["Something on the disk is damaged. Look closer with ", "kindred doctor"],
};

export function sentence(text) {
    const whole = text.charAt(0).toUpperCase() + text.slice(1);
    return /[.!?:]$/.test(whole) ? whole : `${whole}.`;
}

export function clearError() {
    $("#error").replaceChildren();
}

export function showError(problem, again) {
    if (problem.name === "AbortError") {
        return;
    }
    const [advice, command] = ADVICE[problem.code] ?? [];
    const tellsAgain = again && !["INVALID_ARGUMENT", "NOT_FOUND"].includes(problem.code);
    $("#error").replaceChildren(el("div", { class: "error" },
        el("p", {}, el("strong", {}, sentence(problem.message ?? String(problem)))),
        advice ? el("p", {}, advice, command ? el("code", {}, command) : null) : null,
        tellsAgain ? el("p", {}, el("button", { type: "button", onclick: again }, "Try again")) : null));
    if (problem.code === "UNAUTHENTICATED") {
        $("#key").open = true;
    }
}

// What to do where there is nothing yet: text, and commands to run.
export function emptyState(text, ...commands) {
    return el("div", { class: "empty" }, el("p", {}, text), ...commands.map((line) => el("pre", {}, line)));
}

// ---- Numbers for people

export const count = (n) => Number(n).toLocaleString("en");

export function bytes(n) {
    const units = ["B", "KB", "MB", "GB", "TB"];
    let at = 0;
    for (n = Number(n); n >= 1000 && at < units.length - 1; n /= 1000) {
        at++;
    }
    return `${n < 10 && at > 0 ? n.toFixed(1) : Math.round(n)} ${units[at]}`;
}

export function duration(ms) {
    const seconds = Math.round(ms / 1000);
    if (seconds < 60) {
        return `${seconds} s`;
    }
    const minutes = Math.floor(seconds / 60);
    return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function time(ms) {
    const date = new Date(Number(ms));
    return el("time", { datetime: date.toISOString(), title: date.toLocaleString() },
        date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }));
}

// A table whose rows turn into cards on a phone. heads: [text, is a number].
export function table(heads, rows) {
    return el("div", { class: "scroll" }, el("table", { class: "cards" },
        el("thead", {}, el("tr", {}, ...heads.map(([text, number]) => el("th", { scope: "col", class: number ? "number" : null }, text)))),
        el("tbody", {}, ...rows)));
}

export function row(heads, cells, attributes = {}) {
    return el("tr", attributes, ...cells.map((cell, i) => el(i === 0 ? "th" : "td", {
        scope: i === 0 ? "row" : null, class: heads[i][1] ? "number" : null, "data-head": i === 0 ? null : heads[i][0],
    }, ...[cell].flat())));
}

// Which of the pages this is; a job is one of the jobs.
function markPage() {
    const here = `/${location.pathname.split("/")[1]}`;
    for (const link of document.querySelectorAll("header nav a")) {
        if (link.pathname === here) {
            link.setAttribute("aria-current", "page");
        }
    }
}

markPage();
setUpKey();
