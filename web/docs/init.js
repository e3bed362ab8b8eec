// Everything this page needs comes from the server that it describes.
window.ui = SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#api',
  deepLinking: true,
  // The validator is a service of others.
  validatorUrl: null,
  persistAuthorization: false,
  docExpansion: 'list',
});
