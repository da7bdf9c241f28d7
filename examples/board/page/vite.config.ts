import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` serves the page with hot reload and lends it the board server's `/v1` and `/panel`
// (`cargo run -p board -- --port 7400`); the built page is served by the board server itself.
export default defineConfig({
  plugins: [react()],
  build: { target: "es2022" },
  // The package is a link into this repository and has a React of its own for its tests.
  resolve: { dedupe: ["react", "react-dom"] },
  server: {
    proxy: {
      "/v1": { target: "http://127.0.0.1:7400", ws: true },
      "/panel": { target: "http://127.0.0.1:7400" },
    },
  },
});
