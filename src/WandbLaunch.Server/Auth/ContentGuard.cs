using Microsoft.Net.Http.Headers;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Auth;

/// <summary>What a request that may do something must be: JSON where it is a POST, and with a name that a disk can bear where it brings a file.</summary>
internal static class ContentGuard
{
    internal static Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        // A form and a fetch of another site can send every other kind without being asked first.
        if (HttpMethods.IsPost(context.Request.Method) && !IsJson(context.Request))
        {
            return FaultAnswers.WriteAsync(context, 415, "The body must be JSON: send Content-Type: application/json.");
        }

        CheckUpload(context.Request);
        return next(context);
    }

    private static bool IsJson(HttpRequest request) =>
        MediaTypeHeaderValue.TryParse(request.ContentType, out var type)
        && type.MediaType.Equals("application/json", StringComparison.OrdinalIgnoreCase);

    // The name under which a file is kept is also one on the disk of whoever saves it. An escaped slash is a slash there.
    private static void CheckUpload(HttpRequest request)
    {
        if (
            HttpMethods.IsPut(request.Method)
            && request.Path.StartsWithSegments("/files", out var rest)
            && rest.Value?.Split('/', 5) is [_, _, _, _, var name]
        )
        {
            Names.CheckFile(name.Replace("%2F", "/", StringComparison.OrdinalIgnoreCase));
        }
    }
}
