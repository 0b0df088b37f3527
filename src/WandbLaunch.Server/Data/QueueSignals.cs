namespace WandbLaunch.Server.Data;

/// <summary>Wakes agents that wait for work: one waiter for each item that comes.</summary>
internal sealed class QueueSignals
{
    private readonly Dictionary<long, LinkedList<TaskCompletionSource>> _waiting = [];

    internal IDisposable Register(IReadOnlyCollection<long> queues, TaskCompletionSource waiter)
    {
        lock (_waiting)
        {
            var nodes = queues
                .Select(q =>
                {
                    var list = _waiting.TryGetValue(q, out var there)
                        ? there
                        : _waiting[q] = new LinkedList<TaskCompletionSource>();
                    return (q, list.AddLast(waiter));
                })
                .ToList();
            return new Registration(this, nodes);
        }
    }

    internal void Wake(long queue, int count)
    {
        lock (_waiting)
        {
            if (_waiting.TryGetValue(queue, out var list))
            {
                for (var node = list.First; node is not null && count > 0; node = node.Next)
                {
                    count -= node.Value.TrySetResult() ? 1 : 0;
                }
            }
        }
    }

    internal void WakeAll()
    {
        lock (_waiting)
        {
            foreach (var waiter in _waiting.Values.SelectMany(l => l))
            {
                waiter.TrySetResult();
            }
        }
    }

    private sealed class Registration(
        QueueSignals signals,
        List<(long Queue, LinkedListNode<TaskCompletionSource> Node)> nodes
    ) : IDisposable
    {
        public void Dispose()
        {
            lock (signals._waiting)
            {
                foreach (var (queue, node) in nodes)
                {
                    var list = signals._waiting[queue];
                    list.Remove(node);
                    if (list.Count == 0)
                    {
                        signals._waiting.Remove(queue);
                    }
                }
            }
        }
    }
}
