export async function run(search) {
  try {
    const { runWebGpu } = await import("/program/program.js");
    const prompt = JSON.parse(new URLSearchParams(search).get("prompt"));
    const stride = typeof document === "undefined" ? 10 : 1; // a worker runs few of the cases
    return await runWebGpu(new URL("/kitchen", location.href).href, prompt, stride);
  } catch (error) {
    return { failure: `${error.stack ?? error}` };
  }
}
