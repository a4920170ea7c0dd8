// Names that are not defined, and types, are looked for by TypeScript (tsconfig.json).
import js from "@eslint/js";

export default [
  { ignores: ["**/*.min.js", ".venv/**", "cache/**"] },
  {
    files: ["assets/*.js", "aevis_dash/pagespeed/*.js"],
    languageOptions: { ecmaVersion: 2023, sourceType: "script" },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      ...js.configs.recommended.rules,
      "no-undef": "off",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      curly: "error",
      eqeqeq: "error",
      "no-shadow": "error",
      "no-var": "error",
      "prefer-const": ["error", { destructuring: "all" }],
      "max-len": ["error", { code: 120 }],
    },
  },
];
