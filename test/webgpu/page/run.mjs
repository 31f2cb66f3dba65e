// What the query asks for: all cases, or with `text` one text, losing its GPU after `lose` tokens.
const devices = [];
const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  const device = await requestDevice.call(this, descriptor);
  devices.push(device);
  return device;
};

/** @param show is told of tokens, and of the result */
export async function run(search, show) {
  const query = new URLSearchParams(search);
  const prompt = JSON.parse(query.get("prompt"));
  const kitchen = new URL("/kitchen", location.href).href;
  try {
    const { generateText, runWebGpu } = await import("/program/program.js");
    if (!query.has("text")) {
      const stride = typeof document === "undefined" ? 10 : 1; // a worker runs few of the cases
      show({ result: await runWebGpu(kitchen, prompt, stride) });
      return;
    }
    const lose = Number(query.get("lose"));
    const options = JSON.parse(query.get("text"));
    const tell = ({ length }) => {
      show({ tokens: length });
      if (lose > 0 && length >= lose) devices.at(-1).destroy();
    };
    show({ result: await generateText(kitchen, prompt, options, tell) });
  } catch (error) {
    show({ result: { failure: `${error.stack ?? error}`, code: error.code } });
  }
}
