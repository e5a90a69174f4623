// The page in a browser without a window: what people see, and that it needs nothing from elsewhere.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [baseURL, executablePath, picture] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage({ viewport: { width: 1100, height: 1000 } });
  const problems = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("request", (request) => request.url().startsWith(baseURL) || request.url().startsWith("data:") || problems.push(request.url()));
  await page.goto(baseURL);
  await page.getByText("layers").first().waitFor();
  // As people who do not see find it: by labels and roles.
  await page.getByLabel("Query").fill("What is the capital of France?");
  const markup = "<img src=x onerror=alert(1)> is no picture";
  const texts = ["Bananas are rich in potassium.", "Paris is the capital of France.", "The river is long.", markup];
  await page.getByRole("textbox", { name: "Texts" }).fill(texts.join("\n"));
  await page.getByLabel("Best").fill("2");
  await page.getByRole("button", { name: "Rank" }).click();
  await page.getByText("The best: Paris is the capital of France.").waitFor();
  const rows = await page.locator("tbody tr").allInnerTexts();
  assert.equal(rows.length, texts.length);
  assert.match(rows[0], /^[01]\.\d{4}\s.*Paris is the capital of France\.$/s);
  assert.ok(rows.some((row) => row.includes(markup)), "texts are shown as they are");
  assert.equal(await page.locator("tbody img").count(), 0);
  const drawing = page.locator("#drawing svg");
  assert.match(await drawing.getAttribute("aria-label"), /texts are among the best/);
  assert.equal(await drawing.locator("g").count(), texts.length);
  assert.match(await page.locator("#meter").getAttribute("aria-label"), /MiB planned/);
  // Keys alone do it, too, and mistakes are told.
  await page.getByLabel("Query").press("Control+Enter");
  await page.getByText("The best: Paris").waitFor();
  if (picture) await page.screenshot({ path: picture, fullPage: true });
  await page.getByRole("textbox", { name: "Texts" }).fill(" \n");
  await page.getByRole("button", { name: "Rank" }).click();
  await page.getByText("documents: must not be empty").waitFor();
  const expected = problems.filter((problem) => !problem.includes("400"));
  assert.deepEqual(expected, []);
  const small = await browser.newPage({ viewport: { width: 360, height: 700 } });
  await small.goto(baseURL);
  const wide = await small.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wide <= 0, `the page is ${wide} px too wide for a phone`);
  console.log("page: ranking, picture and memory are shown; nothing came from elsewhere");
} finally {
  await browser.close();
}
