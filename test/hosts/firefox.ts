// Firefox without a driver (playwright drives only its own build of it): it opens one page, which sends its answer back.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Silent towards the network. */
const PREFERENCES = [
  "app.update.enabled",
  "browser.shell.checkDefaultBrowser",
  "datareporting.policy.dataSubmissionEnabled",
  "network.captive-portal-service.enabled",
  "network.connectivity-service.enabled",
];

/**
 * Opens a page in a new profile until `done` is settled, at most 150 seconds.
 * @param look at its process before it ends
 */
export async function visitInFirefox<T>(
  program: string,
  url: string,
  done: Promise<T>,
  look: (pid: number) => void = () => {},
): Promise<T> {
  const home = mkdtempSync(join(tmpdir(), "tureen-firefox-"));
  const preferences = PREFERENCES.map((name) => `user_pref("${name}", false);\n`).join("");
  writeFileSync(join(home, "user.js"), preferences);
  const firefox = spawn(program, ["--headless", "--no-remote", "--profile", home, url], {
    stdio: "ignore",
    env: { ...process.env, HOME: home, MOZ_CRASHREPORTER_DISABLE: "1" },
  });
  let timer: NodeJS.Timeout | undefined;
  const exited = new Promise<void>((resolve) => firefox.once("exit", () => resolve()));
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("Firefox did not answer")), 150_000);
  });
  const gone = exited.then(() => Promise.reject(new Error("Firefox ended")));
  try {
    const answer = await Promise.race([done, late, gone]);
    look(firefox.pid!);
    return answer;
  } finally {
    clearTimeout(timer);
    gone.catch(() => {});
    firefox.kill("SIGKILL");
    await exited;
    rmSync(home, { recursive: true, force: true, maxRetries: 5 });
  }
}
