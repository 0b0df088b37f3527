using System.Collections.Concurrent;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>The clusters that were spoken to, and their namespaces that are watched.</summary>
internal sealed class KubeConnections(LaunchContext context)
{
    private readonly ConcurrentDictionary<string, KubeApi> _apis = new(StringComparer.Ordinal);
    private readonly Dictionary<(string Place, string Namespace), KubeBoard> _boards = [];

    internal LaunchContext Context => context;

    /// <summary>
    /// How long a stream may be silent before it is taken up anew: <c>WANDBLAUNCH_KUBE_SILENCE</c> seconds, 120 by default. A
    /// server sends a bookmark about each minute; something between that forgot a connection says nothing at all.
    /// </summary>
    internal TimeSpan Quiet =>
        double.TryParse(
            context.Environment["WANDBLAUNCH_KUBE_SILENCE"],
            System.Globalization.CultureInfo.InvariantCulture,
            out var seconds
        ) && seconds is > 0 and < 86_400
            ? TimeSpan.FromSeconds(seconds)
            : TimeSpan.FromMinutes(2);

    /// <summary>The cluster of a place, as a handle has it.</summary>
    /// <exception cref="LaunchException"><c>KubeConfigNotFound</c>, <c>KubeConfigInvalid</c>, <c>KubeContextNotFound</c>.</exception>
    internal KubeApi Get(string? place) =>
        place is not null && _apis.TryGetValue(place, out var known) ? known : Get(KubePlace.Parse(place));

    internal KubeApi Get(KubePlace place)
    {
        var key = place.ToString();
        return _apis.TryGetValue(key, out var known) ? known : _apis.GetOrAdd(key, new KubeApi(place, context.Time));
    }

    /// <summary>The login is not taken any more: it is read anew.</summary>
    internal void Forget(KubeApi api) => _apis.TryRemove(KeyValuePair.Create(api.Place, api));

    /// <summary>A namespace as it is now. Kept up to date while anybody holds it.</summary>
    internal KubeBoard Hold(string place, string @namespace)
    {
        lock (_boards)
        {
            if (!_boards.TryGetValue((place, @namespace), out var board))
            {
                _boards[(place, @namespace)] = board = new KubeBoard(this, place, @namespace);
            }

            board.Holders++;
            return board;
        }
    }

    internal void LetGo(KubeBoard board)
    {
        lock (_boards)
        {
            if (--board.Holders == 0)
            {
                _boards.Remove((board.Place, board.Namespace));
                board.Dispose();
            }
        }
    }
}
