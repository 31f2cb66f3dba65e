export function Footer() {
  return (
    <footer class="footer">
      <p>
        Tureen serves LoRA soups wherever JavaScript runs. No server computes anything here: model,
        adapters and learning run in this page, on WebAssembly.
      </p>
      <p>
        Method: <a href="https://arxiv.org/abs/2410.13025">LoRA Soups, arXiv 2410.13025</a>.
      </p>
    </footer>
  );
}
