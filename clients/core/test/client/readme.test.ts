/** Each example of the README is compiled, as strictly as the code. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import ts from 'typescript';

const built = dirname(fileURLToPath(import.meta.url)); // build/test/client
const core = join(built, '..', '..', '..');

test('the examples of the README compile', () => {
  const text = readFileSync(join(core, 'README.md'), 'utf8');
  const examples = [...text.matchAll(/```ts\n(.*?)```/gs)].map(one => one[1] as string);
  assert.ok(examples.length > 5);
  const names = examples.map((_, index) => join(core, `example${index}.ts`));
  const options: ts.CompilerOptions = {
    strict: true,
    noUncheckedIndexedAccess: true,
    noEmit: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    moduleDetection: ts.ModuleDetectionKind.Force,
    lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
    types: ['node'],
    paths: { 'ot-jupyter-core': [join(core, 'src', 'index.ts')] }
  };
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists } = host;
  host.readFile = name => examples[names.indexOf(name)] ?? readFile(name);
  host.fileExists = name => names.includes(name) || fileExists(name);
  const { getSourceFile } = host;
  host.getSourceFile = (name, target) =>
    names.includes(name)
      ? ts.createSourceFile(name, examples[names.indexOf(name)] as string, target)
      : getSourceFile(name, target);
  const program = ts.createProgram(names, options, host);
  const wrong = ts.getPreEmitDiagnostics(program).map(one => {
    const place = one.file ? `${one.file.fileName}:${one.start}` : '';
    return `${place} ${ts.flattenDiagnosticMessageText(one.messageText, '\n')}`;
  });
  assert.deepEqual(wrong, []);
});
