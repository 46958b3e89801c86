export * from './transforms/index.js';
export * from './client/index.js';
