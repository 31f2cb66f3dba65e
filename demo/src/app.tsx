import { Footer } from "./parts/footer.tsx";
import { Header } from "./parts/header.tsx";
import { BringSection } from "./sections/bring.tsx";
import { CooksSection } from "./sections/cooks.tsx";
import { LearnSection } from "./sections/learn.tsx";
import { MachineSection } from "./sections/machine.tsx";
import { SeasonSection } from "./sections/season.tsx";

export function App() {
  return (
    <>
      <a class="skip" href="#main" data-skip>
        Skip to the question
      </a>
      <Header />
      <main id="main" tabIndex={-1}>
        <CooksSection />
        <SeasonSection />
        <LearnSection />
        <BringSection />
        <MachineSection />
      </main>
      <Footer />
    </>
  );
}
