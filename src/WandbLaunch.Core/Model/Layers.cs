using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace WandbLaunch.Model;

/// <summary>A value that takes over what another one of its kind sets and it does not.</summary>
internal interface ILayer<T>
{
    /// <summary>This one, with what only <paramref name="under"/> sets.</summary>
    T Over(T under);
}

/// <summary>A map that is joined, name by name, with the one below it; others take its place.</summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class JoinedAttribute : Attribute;

/// <summary>
/// Lays one record over another of its type, by the properties that it has: whoever adds one has nothing else to write.
/// The properties are looked up at the first merge; from then on each costs two calls.
/// </summary>
internal static class Layers<T>
    where T : class
{
    private static readonly Slot[] Slots =
    [
        .. typeof(T)
            .GetProperties(BindingFlags.Public | BindingFlags.Instance)
            .Where(p => p.CanWrite)
            .Select(p => (Slot)Activator.CreateInstance(typeof(Slot<>).MakeGenericType(typeof(T), p.PropertyType), p)!),
    ];

    /// <summary>Gives <paramref name="copy"/>, a copy of <paramref name="over"/> that nobody else has, what only <paramref name="under"/> sets.</summary>
    internal static T Lay(T under, T over, T copy)
    {
        foreach (var slot in Slots)
        {
            slot.Lay(under, over, copy);
        }

        return copy;
    }

    private abstract class Slot
    {
        internal abstract void Lay(T under, T over, T copy);
    }

    private sealed class Slot<TValue>(PropertyInfo property) : Slot
    {
        private readonly Func<T, TValue?> _get = property.GetMethod!.CreateDelegate<Func<T, TValue?>>();
        private readonly Action<T, TValue?> _set = property.SetMethod!.CreateDelegate<Action<T, TValue?>>();
        private readonly bool _joined = property.IsDefined(typeof(JoinedAttribute));

        internal override void Lay(T under, T over, T copy)
        {
            if (_get(under) is not { } low)
            {
                return;
            }

            switch (_get(over))
            {
                case null:
                    _set(copy, low);
                    break;
                case ILayer<TValue> high:
                    _set(copy, high.Over(low));
                    break;
                case JsonObject high when _joined:
                    _set(copy, (TValue)(object)Join((JsonObject)(object)low, high));
                    break;
                case Dictionary<string, JsonElement> high:
                    _set(copy, (TValue)(object)Join((Dictionary<string, JsonElement>)(object)low, high));
                    break;
                default:
                    break;
            }
        }
    }

    private static JsonObject Join(JsonObject under, JsonObject over)
    {
        var joined = (JsonObject)under.DeepClone();
        foreach (var (key, value) in over)
        {
            joined[key] = value?.DeepClone();
        }

        return joined;
    }

    private static Dictionary<string, JsonElement> Join(
        Dictionary<string, JsonElement> under,
        Dictionary<string, JsonElement> over
    )
    {
        var joined = new Dictionary<string, JsonElement>(under);
        foreach (var (key, value) in over)
        {
            joined[key] = value;
        }

        return joined;
    }
}
