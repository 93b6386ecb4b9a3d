// A report, or a training's learning curves, for who has a key: a link sends none, so the file is
// fetched with it and shown in a frame that may run nothing.
import { $, clearError, el, fetchOk, showError } from "./common.js";

const [, kind, id] = location.pathname.split("/");
const job = encodeURIComponent(decodeURIComponent(id));
const [path, name] = kind === "runs" ? ["run/run.html", "Learning curves"] : ["report/report.html", "Report"];

async function show() {
    $("#status").textContent = "Loading…";
    try {
        const text = await (await fetchOk(`/v1/jobs/${job}/${path}`)).text();
        const url = URL.createObjectURL(new Blob([text], { type: "text/html;charset=utf-8" }));
        clearError();
        $("#status").textContent = "";
        $("#status").hidden = true;
        $("#view").replaceChildren(el("iframe", { sandbox: "", title: name, src: url }));
        $("#links").replaceChildren(el("a", { href: `/jobs/${job}` }, "Its job"), " ",
            el("a", { href: url, download: `${id}-${path.split("/").pop()}` }, "Save"));
    } catch (problem) {
        $("#status").textContent = "";
        showError(problem, show);
    }
}

document.title = `kindred: ${name.toLowerCase()}`;
if (kind === "runs") {
    $("#back").href = "/models";
    $("#back").textContent = "Models";
}
show();
