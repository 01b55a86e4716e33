// Opens Swagger UI for the gateway's OpenAPI document; no other host is contacted.
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
