// How computations give the host's event loop a turn: timers, signals, messages and rendering wait while promises alone run.

/** Resolves in a later task of the event loop, after microseconds (a timer would take milliseconds in browsers). */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      channel.port1.close();
      resolve();
    };
    channel.port2.postMessage(null);
  });
}
