using System.Globalization;
using System.Text.Json;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Pages;

/// <summary>What the page's endpoints read of a request.</summary>
internal static class PageRequests
{
    private const int MostBytes = 24 * Bodies.Megabyte;

    internal static string? Text(this HttpRequest request, string name) =>
        request.Query[name].ToString() is { Length: > 0 } text ? text : null;

    internal static string Need(this HttpRequest request, string name) =>
        request.Text(name) ?? throw new RequestFault(400, $"{name} is missing in the address.");

    /// <summary>The project that an address names. What is another team's is not there.</summary>
    internal static ProjectRecord Project(this HttpRequest request, ProjectRepository projects) =>
        projects.Find(request.Text("entity") ?? request.HttpContext.Caller().Name, request.Need("project")) is { } found
        && request.HttpContext.Caller().MayRead(found.Entity)
            ? found
            : throw new RequestFault(404, "There is no such project.");

    internal static int Number(this HttpRequest request, string name, int usual, int most) =>
        request.Text(name) is not { } text ? usual
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? Math.Min(number, most)
        : throw new RequestFault(400, $"{name} must be a number from 0 on.");

    /// <summary>The body, which must be an object.</summary>
    internal static async Task<JsonElement> BodyAsync(this HttpContext context)
    {
        using var document = await Bodies.ReadJsonAsync(context, MostBytes);
        return document.RootElement.ValueKind == JsonValueKind.Object
            ? document.RootElement.Clone()
            : throw new RequestFault(400, "The body must be a JSON object.");
    }

    internal static string? Text(this JsonElement body, string name) =>
        body.Given(name) is { } value
            ? value.ValueKind == JsonValueKind.String
                ? Unpaired(value, name)
                : throw new RequestFault(400, $"{name} must be a text.")
            : null;

    internal static string Need(this JsonElement body, string name) =>
        body.Text(name) is { Length: > 0 } text ? text : throw new FieldFault(name, "Give this.");

    internal static int? Number(this JsonElement body, string name) =>
        body.Given(name) is { } value
            ? value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number)
                ? number
                : throw new RequestFault(400, $"{name} must be a whole number.")
            : null;

    internal static bool? Flag(this JsonElement body, string name) =>
        body.Given(name)?.ValueKind switch
        {
            null => null,
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw new RequestFault(400, $"{name} must be true or false."),
        };

    internal static List<long> IdList(this JsonElement body, string name) =>
        body.Given(name) is { ValueKind: JsonValueKind.Array } list && list.GetArrayLength() is > 0 and <= 1000
            ? list.EnumerateArray().Select(i => Ids.Parse(i.ToString())).ToList()
            : throw new RequestFault(400, $"{name} must be a list of 1 to 1,000 ids.");

    internal static JsonElement? Given(this JsonElement body, string name) =>
        body.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    /// <summary>Answers, never to be kept by anybody.</summary>
    internal static Task AnswerAsync(this HttpContext context, object answer)
    {
        context.Response.Headers.CacheControl = "no-store";
        return context.Response.WriteAsJsonAsync(answer, context.RequestAborted);
    }

    /// <summary>Answers a form: what is wrong with a field has the field's name.</summary>
    internal static async Task AnswerFormAsync(this HttpContext context, Func<JsonElement, object> act)
    {
        var body = await context.BodyAsync();
        try
        {
            await context.AnswerAsync(act(body));
        }
        catch (FieldFault e)
        {
            context.Response.StatusCode = 400;
            await context.AnswerAsync(new { error = e.Message, field = e.Field });
        }
    }

    /// <summary>JSON that was stored, as it is; null for what is none.</summary>
    internal static JsonElement? Json(string? text)
    {
        if (text is null)
        {
            return null;
        }

        try
        {
            using var document = JsonDocument.Parse(text);
            return document.RootElement.Clone();
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static string Unpaired(JsonElement value, string name)
    {
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw new RequestFault(400, $"{name} has half of a surrogate pair, which is no text.");
        }
    }
}

/// <summary>What is wrong with one field of a form.</summary>
internal sealed class FieldFault(string name, string message) : Exception(message)
{
    internal string Field => name;
}
