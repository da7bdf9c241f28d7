import * as tidewire from "tidewire/inline";
import { play } from "../play.js";

const options = Object.fromEntries(new URLSearchParams(location.search));
play(tidewire, options).then((report) => {
  document.getElementById("report").textContent = JSON.stringify(report);
});
