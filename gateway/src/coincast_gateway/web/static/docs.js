// Opens Swagger UI on the gateway's own description; nothing is fetched from elsewhere.
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
