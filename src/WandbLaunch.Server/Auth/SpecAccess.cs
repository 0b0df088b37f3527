using System.Text;
using System.Text.Json;

namespace WandbLaunch.Server.Auth;

/// <summary>
/// What an item may say of its run's place. An agent runs it with a key of its own, which may reach further than that of
/// whoever queues it: nobody queues a run for an entity that is not theirs.
/// </summary>
internal static class SpecAccess
{
    /// <summary>False where the run would be another's.</summary>
    internal static bool IsOwn(Caller caller, string? spec) =>
        caller.IsAdmin || spec is null || IsOwn(caller, Encoding.UTF8.GetBytes(spec));

    /// <inheritdoc cref="IsOwn(Caller, string?)"/>
    internal static bool IsOwn(Caller caller, ReadOnlyMemory<byte> spec)
    {
        if (caller.IsAdmin || spec.IsEmpty)
        {
            return true;
        }

        try
        {
            using var document = JsonDocument.Parse(spec);

            // Each of a name that stands twice: readers differ in which they take.
            return document.RootElement.ValueKind != JsonValueKind.Object
                || document
                    .RootElement.EnumerateObject()
                    .Where(e => e.Name is "entity" or "target_entity" && e.Value.ValueKind == JsonValueKind.String)
                    .All(e => e.Value.GetString() is not { Length: > 0 } entity || caller.MayWrite(entity));
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // It is refused for that by whoever takes it.
            return true;
        }
    }
}
