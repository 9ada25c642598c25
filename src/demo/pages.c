#include "demo/pages.h"

#include "base/html.h"

#include <string.h>

enum field_kind { FIELD_TEXT, FIELD_NUMBER, FIELD_LONG_TEXT, FIELD_CHOICE };

static const struct page {
    const char *title, *question, *hint, *short_name;
    enum field_kind kind;
    const char *choices[5];
} pages[PAGES_COUNT] = {
    {"Your boat", "What is she called?", "As it is painted on the stern.", "Boat", FIELD_TEXT, {0}},
    {"Your boat",
     "How long is she?",
     "In metres, over all. Round up; the harbour master does, too.",
     "Length (m)",
     FIELD_NUMBER,
     {0}},
    {"Your boat",
     "What drives her?",
     "",
     "Drive",
     FIELD_CHOICE,
     {"Sail", "Sail and engine", "Engine", "Oars", "Hope"}},
    {"You", "Who is the skipper?", "First and last name.", "Skipper", FIELD_TEXT, {0}},
    {"You", "How many are aboard?", "Without the cat.", "Crew", FIELD_NUMBER, {0}},
    {"Your stay",
     "Which berth would you like?",
     "",
     "Berth",
     FIELD_CHOICE,
     {"Quay wall", "Pontoon", "Mooring buoy", "At anchor in the kelp"}},
    {"Your stay",
     "How many nights?",
     "You may stay longer; the session lasts.",
     "Nights",
     FIELD_NUMBER,
     {0}},
    {"Your stay",
     "What do you need ashore?",
     "",
     "Ashore",
     FIELD_CHOICE,
     {"Water", "Shore power", "Diesel", "A sailmaker", "A good dinner"}},
    {"Your plans", "Where do you sail next?", "", "Next port", FIELD_TEXT, {0}},
    {"Your plans",
     "Anything the harbour master should know?",
     "Leave it empty if there is nothing.",
     "Remarks",
     FIELD_LONG_TEXT,
     {0}},
};

const char pages_style[] =
    ":root{color-scheme:light "
    "dark;--strip:#10243a;--ink:#10243a;--soft:#5b6f82;--paper:#f4f8fa;--card:#fff;--line:#d6e0e7;-"
    "-sea:#0b6e79;--"
    "sea-ink:#fff;--good:#1d7a45}\n"
    "@media(prefers-color-scheme:dark){:root{--strip:#1b3040;--ink:#e6eef3;--soft:#9db0be;--paper:#"
    "0c1822;--card:#"
    "14242f;--line:#2a3e4c;"
    "--sea:#37b3bf;--sea-ink:#06161a;--good:#5fd08e}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);font:1.05rem/1.55 "
    "system-ui,sans-serif;min-height:100vh;"
    "display:flex;flex-direction:column}\n"
    ".strip{background:var(--strip);color:#f4f8fa;padding:.6rem "
    "1rem;font-size:.9rem;display:flex;flex-wrap:wrap;"
    "gap:.2rem 1.4rem;justify-content:center;text-align:center;position:sticky;top:0}\n"
    ".strip span{white-space:nowrap}\n"
    ".strip b{font-variant-numeric:tabular-nums}\n"
    ".strip.broken{background:#a3262a;color:#fff}\n"
    "main{flex:1;width:100%;max-width:36rem;margin:0 auto;padding:2rem 1rem}\n"
    ".card{background:var(--card);border:1px solid "
    "var(--line);border-radius:14px;padding:1.6rem;box-shadow:0 6px 24px #0b2a3a14}\n"
    ".steps{display:flex;gap:.3rem;margin:0 0 1.4rem;padding:0;list-style:none}\n"
    ".steps li{flex:1;height:.35rem;border-radius:1rem;background:var(--line)}\n"
    ".steps .done{background:var(--sea)}\n"
    "h1{font-size:1rem;margin:0;color:var(--sea);font-weight:600}\n"
    "label,.question{display:block;font-size:1.45rem;line-height:1.25;font-weight:650;margin:.3rem "
    "0 .5rem}\n"
    ".hint{color:var(--soft);margin:0 0 1rem}\n"
    ".complaint{color:#c0353a;font-weight:600}\n"
    "input[type=text],input[type=number],textarea{width:100%;font:inherit;color:inherit;background:"
    "var(--paper);"
    "border:1.5px solid var(--line);border-radius:10px;padding:.75rem .9rem}\n"
    "input:focus-visible,textarea:focus-visible,button:focus-visible,a:focus-visible{outline:3px "
    "solid var(--sea);outline-offset:2px}\n"
    ".choice{display:flex;align-items:center;gap:.7rem;border:1.5px solid "
    "var(--line);border-radius:10px;padding:.7rem .9rem;"
    "margin:.5rem 0;font-size:1.05rem;font-weight:400;cursor:pointer}\n"
    ".choice:has(:checked){border-color:var(--sea)}\n"
    "fieldset{border:0;margin:0;padding:0}legend{padding:0}\n"
    ".row{display:flex;justify-content:space-between;align-items:center;margin-top:1.5rem;gap:1rem}"
    "\n"
    "button{font:inherit;font-weight:650;color:var(--sea-ink);background:var(--sea);border:0;"
    "border-radius:10px;"
    "padding:.75rem 1.6rem;min-height:3rem;cursor:pointer}\n"
    "a{color:var(--sea)}\n"
    "dl{display:grid;grid-template-columns:auto 1fr;gap:.5rem 1.2rem;margin:1rem 0}\n"
    "dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\n"
    "section{margin:1.6rem 0 0}\n"
    "h2{font-size:.9rem;font-weight:600;color:var(--soft);margin:0 0 .6rem;text-align:center}\n"
    ".changes{display:grid;grid-template-columns:repeat(4,1fr);gap:.6rem;margin:0;padding:0;"
    "list-style:none}\n"
    ".changes li{background:var(--card);border:1px solid var(--line);border-radius:12px;"
    "padding:.7rem .5rem;text-align:center;font-size:.8rem;line-height:1.3;color:var(--soft)}\n"
    ".changes b{display:block;font-size:1.6rem;line-height:1.2;color:var(--sea);"
    "font-variant-numeric:tabular-nums}\n"
    ".last{color:var(--soft);font-size:.85rem;text-align:center;margin:.7rem 0 0}\n"
    ".last b{font-weight:500;color:var(--ink)}\n"
    "@media(max-width:30rem){.changes{grid-template-columns:repeat(2,1fr)}"
    "main{padding:1rem}.card{padding:1.2rem}}\n"
    "footer{color:var(--soft);font-size:.85rem;text-align:center;padding:1rem}\n";

const char pages_script[] =
    "const show = (id, text) => { document.getElementById(id).textContent = text; };\n"
    "const age = (s) => s < 60 ? s + ' s' : Math.floor(s / 60) + ' min ' + s % 60 + ' s';\n"
    "async function poll() {\n"
    "    const strip = document.querySelector('.strip');\n"
    "    try {\n"
    "        const state = await (await fetch('/status.json', {cache: 'no-store'})).json();\n"
    "        show('age', age(state.age_s));\n"
    "        show('connection', state.survived + (state.survived === 1 ? ' change' : ' "
    "changes'));\n"
    "        for (const kind of ['certificates', 'relays', 'reloads', 'upgrades', 'lost'])\n"
    "            show(kind, state[kind]);\n"
    "        show('last', state.last || 'nothing yet');\n"
    "        strip.classList.toggle('broken', state.lost > 0);\n"
    "    } catch (error) {\n"
    "        strip.classList.add('broken');\n"
    "    }\n"
    "    setTimeout(poll, 1000);\n"
    "}\n"
    "poll();\n";

/* The script fills in every <b>. */
static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<title>Kelp Harbour · Holdfast demo</title>\n"
    "<link rel=\"stylesheet\" href=\"/style.css\">\n<script src=\"/status.js\" defer></script>\n"
    "</head>\n<body>\n<div class=\"strip\" role=\"status\">\n"
    "<span>This TLS connection: <b id=\"age\">…</b>, <b id=\"connection\">…</b></span>\n"
    "<span>lost: <b id=\"lost\">…</b></span>\n</div>\n<main>\n<div class=\"card\">\n";

static const char tail[] =
    "</div>\n<section aria-labelledby=\"underneath\">\n"
    "<h2 id=\"underneath\">Meanwhile, underneath your visit</h2>\n<ul class=\"changes\">\n"
    "<li><b id=\"certificates\">…</b>certificates replaced</li>\n"
    "<li><b id=\"relays\">…</b>relay processes killed</li>\n"
    "<li><b id=\"reloads\">…</b>configurations reloaded</li>\n"
    "<li><b id=\"upgrades\">…</b>program upgrades</li>\n"
    "</ul>\n<p class=\"last\">Last: <b id=\"last\">…</b></p>\n</section>\n</main>\n"
    "<footer>Fill in the form as slowly as you like. Something before you changes every two "
    "seconds; your connection stays.</footer>\n</body>\n</html>\n";

static void text(struct buffer *html, const char *markup)
{
    ignore(buffer_append_text(html, markup));
}

static void steps(struct buffer *html, unsigned number)
{
    ignore(buffer_printf(html, "<ol class=\"steps\" aria-label=\"Page %u of %d\">", number,
                         PAGES_COUNT));
    for (unsigned i = 1; i <= PAGES_COUNT; i++)
        ignore(buffer_printf(html, "<li%s></li>", i <= number ? " class=\"done\"" : ""));
    text(html, "</ol>\n");
}

static void choices(struct buffer *html, const struct page *page, const char *answer)
{
    ignore(
        buffer_printf(html, "<fieldset><legend class=\"question\">%s</legend>\n", page->question));
    for (size_t i = 0; i < ARRAY_SIZE(page->choices) && page->choices[i] != NULL; i++) {
        const char *choice = page->choices[i];
        ignore(buffer_printf(html,
                             "<label class=\"choice\"><input type=\"radio\" name=\"answer\" "
                             "value=\"%s\"%s required>%s</label>\n",
                             choice, strcmp(choice, answer) == 0 ? " checked" : "", choice));
    }
    text(html, "</fieldset>\n");
}

static void field(struct buffer *html, const struct page *page, const char *answer)
{
    if (page->kind == FIELD_CHOICE) {
        choices(html, page, answer);
        return;
    }
    ignore(buffer_printf(html, "<label for=\"answer\">%s</label>\n<p class=\"hint\">%s</p>\n",
                         page->question, page->hint));
    if (page->kind == FIELD_LONG_TEXT) {
        text(html, "<textarea id=\"answer\" name=\"answer\" rows=\"4\" maxlength=\"200\">");
        html_escape(html, answer);
        text(html, "</textarea>\n");
        return;
    }
    text(html, page->kind == FIELD_NUMBER
                   ? "<input type=\"number\" min=\"1\" max=\"999\" inputmode=\"numeric\""
                   : "<input type=\"text\" maxlength=\"80\"");
    text(html, " id=\"answer\" name=\"answer\" autocomplete=\"off\" required autofocus value=\"");
    html_escape(html, answer);
    text(html, "\">\n");
}

void pages_form(struct buffer *html, const struct visit *visit, unsigned number,
                const char *complaint)
{
    const struct page *page = &pages[number - 1];

    text(html, head);
    steps(html, number);
    ignore(buffer_printf(html, "<h1>%s</h1>\n<form method=\"post\" action=\"/page/%u\">\n",
                         page->title, number));
    if (complaint != NULL)
        ignore(buffer_printf(html, "<p class=\"complaint\" role=\"alert\">%s</p>\n", complaint));
    field(html, page, visit->answers[number - 1]);
    text(html, "<div class=\"row\">");
    if (number > 1)
        ignore(buffer_printf(html, "<a href=\"/page/%u\">Back</a>", number - 1));
    else
        text(html, "<span></span>");
    ignore(buffer_printf(html, "<button>%s</button></div>\n</form>\n",
                         number == PAGES_COUNT ? "Finish" : "Next"));
    text(html, tail);
}

void pages_summary(struct buffer *html, const struct visit *visit)
{
    text(html, head);
    steps(html, PAGES_COUNT);
    text(html, "<h1>Welcome to Kelp Harbour</h1>\n<p class=\"question\">Your berth is "
               "reserved.</p>\n<dl>\n");
    for (size_t i = 0; i < PAGES_COUNT; i++) {
        ignore(buffer_printf(html, "<dt>%s</dt><dd>", pages[i].short_name));
        html_escape(html, visit->answers[i][0] != '\0' ? visit->answers[i] : "–");
        text(html, "</dd>\n");
    }
    text(html,
         "</dl>\n<p class=\"hint\">All of this was kept in your session while everything "
         "under it was replaced.</p>\n"
         "<form method=\"post\" action=\"/again\"><div class=\"row\"><a href=\"/page/10\">Back</a>"
         "<button>Start again</button></div></form>\n");
    text(html, tail);
}

static bool is_number(const char *answer)
{
    size_t digits = strspn(answer, "0123456789");
    return digits > 0 && digits <= 3 && answer[digits] == '\0' && strspn(answer, "0") < digits;
}

static bool is_choice(const struct page *page, const char *answer)
{
    for (size_t i = 0; i < ARRAY_SIZE(page->choices) && page->choices[i] != NULL; i++) {
        if (strcmp(page->choices[i], answer) == 0)
            return true;
    }
    return false;
}

const char *pages_check(unsigned number, const char *answer)
{
    const struct page *page = &pages[number - 1];

    switch (page->kind) {
    case FIELD_TEXT:
        return answer[strspn(answer, " \t\r\n")] != '\0' ? NULL : "Please write something here.";
    case FIELD_NUMBER:
        return is_number(answer) ? NULL : "Please give a number from 1 to 999.";
    case FIELD_CHOICE:
        return is_choice(page, answer) ? NULL : "Please choose one.";
    case FIELD_LONG_TEXT:
        return NULL;
    }
    return NULL;
}
